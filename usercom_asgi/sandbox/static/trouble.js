/* What User.com does wrong, per endpoint, and the settings of the workspace. */

import { element, find, findAll, keyed, post } from "./dom.js";

const ENDPOINTS = {
  "": "everything",
  "/user-chatping/": "page hits and resets",
  "/api/event/": "events",
  "/api/product_event/": "product events",
  "/api/update-attribute/": "updates",
  "/api/conversation/": "chat",
  "/api/public/": "REST",
};
const WHAT = {
  latency: { label: "latency", fields: ["seconds"], hint: "Each answer comes later by so many seconds.", fault: ({ seconds }) => ({ kind: "latency", seconds }) },
  errors: { label: "errors (500)", fields: ["rate"], hint: "A part of the requests gets a 500 and is not processed. The library sends them again.", fault: ({ rate }) => ({ kind: "status", code: 500, rate: rate / 100 }) },
  401: { label: "401", fields: [], hint: "The key or the token is refused. Nothing gets through until it is corrected.", fault: () => ({ kind: "status", code: 401 }) },
  403: { label: "403", fields: [], hint: "The app key is another workspace's, or the domain is not on its list.", fault: () => ({ kind: "status", code: 403 }) },
  429: { label: "429, too many requests", fields: ["retry"], hint: "Retry-After names the seconds to wait before the next request.", fault: ({ retry }) => ({ kind: "status", code: 429, headers: { "Retry-After": String(retry) } }) },
  drop: { label: "dropped answers", fields: [], hint: "The request is processed and the connection closed without an answer. What is sent again arrives twice, marked as a duplicate.", fault: () => ({ kind: "drop" }) },
  hang: { label: "hangs", fields: [], hint: "Requests wait until the trouble is removed, and are then processed.", fault: () => ({ kind: "hang" }) },
  down: { label: "down", fields: [], hint: "The connection is closed at once and nothing is processed.", fault: () => ({ kind: "down" }) },
};
const PRESETS = [
  ["is fine", { kind: "clear" }, ""],
  ["answers 500", { kind: "status", code: 500 }, "answers 500"],
  ["is slow (3 s)", { kind: "latency", seconds: 3 }, "answers after 3 s"],
  ["hangs", { kind: "hang" }, "hangs"],
  ["drops answers", { kind: "drop" }, "drops the answer"],
  ["is down", { kind: "down" }, "is down"],
];

export function trouble(panel, draw) {
  const ask = async (path, body) => {
    const state = await post(path, body);
    if (state) draw(state);
  };
  const presets = PRESETS.map(([text, fault, sign]) => {
    const button = element("button", { type: "button", "aria-pressed": "false", onclick: () => ask("/sandbox/faults", { ...fault }) }, text);
    find("#presets", panel).append(button);
    return { button, sign };
  });
  const active = find(".force", panel);
  const showForce = keyed(active, ({ text, number }) =>
    element("li", {}, text, number === null ? null : element("button", { type: "button", "aria-label": `Remove: ${text}`, onclick: () => ask("/sandbox/faults", { kind: "remove", number }) }, "Remove")),
  );

  const form = find("#add-fault", panel);
  const { only, sender, what } = form.elements;
  only.append(...Object.entries(ENDPOINTS).map(([value, text]) => element("option", { value }, text)));
  what.append(...Object.entries(WHAT).map(([value, { label }]) => element("option", { value }, label)));
  what.value = "latency";
  const explain = () => {
    const { fields, hint } = WHAT[what.value];
    for (const field of findAll("[data-for]", form)) field.hidden = !fields.includes(field.dataset.for);
    find("#what-hint", form).textContent = hint;
  };
  what.addEventListener("change", explain);
  explain();
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const numbers = Object.fromEntries(["seconds", "rate", "retry"].map((name) => [name, Number(form.elements[name].value)]));
    const limits = { ...(only.value && { only: only.value }), ...(sender.value && { sender: sender.value }) };
    ask("/sandbox/faults", { ...WHAT[what.value].fault(numbers), ...limits, add: true });
  });
  const switches = findAll(".switch input", panel);
  const asked = new Map(); // answers that each switch waits for: until they come, no state changes it
  for (const input of switches) {
    asked.set(input, 0);
    input.addEventListener("change", async () => {
      asked.set(input, asked.get(input) + 1);
      const next = await post("/sandbox/settings", { [input.name]: input.checked }).catch(() => null);
      asked.set(input, asked.get(input) - 1);
      if (next) draw(next);
    });
  }

  return ({ faults, settings }) => {
    for (const { button, sign } of presets) {
      button.setAttribute("aria-pressed", String(sign ? faults.includes(sign) : faults.length === 0));
    }
    const items = faults.map((text, number) => ({ text, number }));
    showForce(items.length ? items.map((item) => [item.number, item]) : [[-1, { text: "Nothing: User.com is fine.", number: null }]]);
    for (const input of switches) if (!asked.get(input)) input.checked = settings[input.name];
  };
}
