/* The dashboard: polls /sandbox/state every second and updates what has changed. Text is never set as HTML. */
(function () {
  "use strict";

  const find = (selector) => document.querySelector(selector);
  const OWN_KEYS = ["apiKey", "userKey", "domain", "timezone", "resolution", "url", "referrer", "widget_ready"];
  const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
  const day = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "medium" });

  function element(tag, name, ...content) {
    const made = document.createElement(tag);
    made.className = name;
    made.append(...content); // strings become text nodes
    return made;
  }

  function time(seconds) {
    const made = element("time", "time", clock.format(seconds * 1000));
    made.title = day.format(seconds * 1000);
    return made;
  }

  const short = (key) => `${key.slice(0, 4)}…`;

  function without(object, names) {
    return Object.fromEntries(Object.entries(object).filter(([name]) => !names.includes(name)));
  }

  function setText(selector, content) {
    const target = find(selector);
    if (target.textContent !== content) target.textContent = content;
  }

  /* Keep rows whose content is unchanged, so that nothing flickers and a selection stays. */
  function keyed(parent) {
    const shown = new Map();
    return (items, build) => {
      const left = new Set(shown.keys());
      let place = parent.firstChild;
      for (const [id, item] of items) {
        const content = JSON.stringify(item);
        let row = shown.get(id);
        if (!row || row.content !== content) {
          const node = build(item);
          if (row) {
            if (place === row.node) place = place.nextSibling;
            row.node.remove();
          }
          row = { content, node };
          shown.set(id, row);
        }
        if (row.node === place) place = place.nextSibling;
        else parent.insertBefore(row.node, place);
        left.delete(id);
      }
      for (const id of left) {
        shown.get(id).node.remove();
        shown.delete(id);
      }
    };
  }

  /* ---- visitors ---- */

  function visitorRow({ user, survivor }) {
    const known = user.user_id !== null || user.email !== null;
    const initials = user.name.split(/\s+/).map((word) => [...word][0] || "").slice(0, 2).join("").toUpperCase();
    const avatar = element("span", known ? "avatar known" : "avatar", initials);
    avatar.setAttribute("aria-hidden", "true");
    const key = element("code", "", short(user.key));
    const state = survivor ? ` · merged into ${survivor}` : known ? "" : " · anonymous";
    const names = element("div", "", element("div", "name", user.name), element("div", "sub", key, state));
    const row = element("tr", survivor ? "merged" : "", element("td", "", element("div", "person", avatar, names)));
    addCell(row, "User id", user.user_id === null ? "none" : "long", user.user_id === null ? "–" : user.user_id);
    addCell(row, "Email", user.email === null ? "none" : "long", user.email === null ? "–" : user.email);
    addCell(row, "Seen", "", time(user.created_at), time(user.last_seen));
    addCell(row, "Hits", "number", String(user.hits));
    addCell(row, "Events", "number", String(user.events));
    return row;
  }

  function addCell(row, label, name, ...content) {
    const cell = element("td", name, element("span", "", ...content));
    cell.dataset.label = label;
    if (name === "long") cell.title = content[0]; // it may be truncated
    row.append(cell);
  }

  const showVisitors = keyed(find("#visitors tbody"));

  function renderVisitors(users) {
    const byKey = new Map(users.map((user) => [user.key, user]));
    const newest = users.slice().sort((one, other) => other.last_seen - one.last_seen);
    const living = users.filter((user) => !user.merged_into).length;
    setText("#visitor-count", users.length ? String(living) : "");
    find("#visitors").hidden = !users.length;
    find("#no-visitors").hidden = users.length > 0;
    const items = newest.map((user) => {
      const survivor = byKey.get(user.merged_into);
      return [user.key, { user, survivor: survivor ? survivor.name : "" }];
    });
    showVisitors(items, visitorRow);
  }

  /* ---- timeline ---- */

  const KINDS = {
    hits: (hit) => ({
      kind: hit.created_new_gu ? "reset" : "view",
      what: hit.url || hit.domain || "(no address)",
      via: hit.from_widget ? "widget" : "server",
      data: without(hit.payload, OWN_KEYS),
    }),
    events: (event) => ({ kind: "event", what: event.name, data: event.data }),
    product_events: (event) => ({ kind: "product", what: `${event.event_type}: ${event.product_id}`, data: event.data }),
    updates: (update) => ({ kind: "update", what: Object.keys(update.data).join(", ") || "(nothing)", data: update.data }),
    rejected: (refusal) => ({ kind: "refused", what: `${refusal.status} ${refusal.path}`, via: refusal.reason, data: refusal.body }),
    faulted: (met) => ({ kind: "fault", what: met.fault, via: `${met.path}, from the ${met.sender}`, data: null }),
  };

  function timelineRow(item) {
    const via = [item.who, item.via].filter(Boolean).join(" · ");
    const body = element("div", "body", element("div", "who", via));
    if (item.data && Object.keys(item.data).length) {
      const text = typeof item.data === "string" ? item.data : JSON.stringify(item.data, null, 2);
      body.append(element("details", "", element("summary", "", "data"), element("pre", "", text)));
    }
    return element("li", "", element("span", `kind ${item.kind}`, item.kind), element("span", "body what", item.what), time(item.at), body);
  }

  const showTimeline = keyed(find("#timeline"));

  function renderTimeline(state) {
    const names = new Map(state.users.map((user) => [user.key, user.name]));
    const items = [];
    for (const [kind, describe] of Object.entries(KINDS)) {
      const before = state.totals[kind] - state[kind].length;
      state[kind].forEach((record, index) => {
        const who = record.key ? `${names.get(record.key) || "visitor"} (${short(record.key)})` : "";
        items.push([`${kind} ${before + index}`, { ...describe(record), who, at: record.at }]);
      });
    }
    items.sort(([, one], [, other]) => other.at - one.at);
    const total = Object.values(state.totals).reduce((sum, count) => sum + count, 0);
    setText("#timeline-count", total ? String(total) : "");
    find("#no-timeline").hidden = items.length > 0;
    showTimeline(items.slice(0, 200), timelineRow);
  }

  /* ---- the rest ---- */

  const SIGNS = { status: "answers 500", latency: "after 3 s", hang: "hangs", drop: "drops" };

  function render(state) {
    const bad = state.faults.length > 0;
    setText("#health", bad ? `User.com ${state.faults.join("; ")}` : "User.com is fine");
    find("#health").classList.toggle("bad", bad);
    for (const button of document.querySelectorAll("#faults button")) {
      const sign = SIGNS[JSON.parse(button.dataset.fault).kind];
      button.setAttribute("aria-pressed", String(sign ? state.faults.some((fault) => fault.includes(sign)) : !bad));
    }
    for (const input of document.querySelectorAll(".switch input")) input.checked = state.settings[input.name];
    setText("#api-key", state.api_key);
    setText(
      "#snippet",
      `<script>window.civchat = ${JSON.stringify({ apiKey: state.api_key })};</script>\n` +
        `<script src="${location.origin}/widget.js"></script>`,
    );
    renderVisitors(state.users);
    renderTimeline(state);
  }

  let shown = ""; // the last state shown, without its clock

  function draw(state) {
    const content = JSON.stringify({ ...state, now: 0 });
    if (content === shown) return;
    shown = content;
    render(state);
  }

  async function ask(path, body) {
    const request = body === undefined ? {} : { method: "POST", body: JSON.stringify(body) };
    try {
      const answer = await fetch(path, request);
      draw(await answer.json());
    } catch (error) {
      shown = "";
      setText("#health", "The sandbox does not run");
      find("#health").classList.add("bad");
    }
  }

  async function look() {
    if (!document.hidden) await ask("/sandbox/state");
    setTimeout(look, 1000);
  }

  find("#faults").addEventListener("click", ({ target }) => {
    if (target.dataset.fault) ask("/sandbox/faults", JSON.parse(target.dataset.fault));
  });
  for (const input of document.querySelectorAll(".switch input")) {
    input.addEventListener("change", () => ask("/sandbox/settings", { [input.name]: input.checked }));
  }
  find("#clear").addEventListener("click", () => ask("/sandbox/clear", {}));
  look();
})();
