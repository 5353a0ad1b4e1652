/* The time line: entries of all kinds, of all visitors or of one. */

import { copy, element, read } from "./dom.js";
import { count, duration, preview, status, time, visitorLink } from "./format.js";
import { PagedList } from "./lists.js";

export const KINDS = {
  view: "views", reset: "resets", event: "events", product: "products", update: "updates", chat: "chat",
  code: "codes", identity: "identity", refused: "refused", fault: "faults", ignored: "ignored",
};
const MARKS = {
  duplicate: "The same record has arrived before, in another request",
  repeat: "The widget sends the event of a page hit again with each later hit",
  orphan: "No visitor has the key of this request",
};

export function entryRow(entry, before) {
  const opened = Boolean(before && before.querySelector("[aria-expanded=true]"));
  const details = element("div", { class: "details", hidden: true });
  const open = element("button", { type: "button", class: "open", "aria-expanded": "false" }, title(entry));
  const toggle = (isOpen) => {
    if (isOpen && !details.firstChild) details.append(...buildDetails(entry));
    details.hidden = !isOpen;
    open.setAttribute("aria-expanded", String(isOpen));
  };
  open.addEventListener("click", () => toggle(details.hidden));
  if (opened) toggle(true);
  const marks = entry.marks.map((mark) => element("span", { class: `mark ${mark}`, title: MARKS[mark] }, mark));
  const line = preview(entry);
  const row = element(
    "li",
    { class: `entry ${entry.kind}` },
    element("span", { class: `kind ${entry.kind}` }, entry.kind),
    element("div", { class: "what" }, open, ...marks, element("p", { class: "sub" }, ...about(entry)), line && element("p", { class: "preview" }, line), details),
    time(entry.at),
  );
  if (before && before.contains(document.activeElement) && document.activeElement.matches(".open")) queueMicrotask(() => open.focus());
  return row;
}

function title(entry) {
  if (entry.kind !== "reset") return entry.what;
  const to = entry.is_new || !entry.visitor ? "new visitor" : entry.visitor.name;
  return `${entry.previous ? entry.previous.name : "unknown visitor"} → ${to}`;
}

function about(entry) {
  const { request } = entry;
  const parts = [];
  if (entry.visitor) parts.push(visitorLink(entry.visitor), ` ${entry.visitor.key}`);
  if (request) {
    if (parts.length) parts.push(" · ");
    parts.push(request.sender === "widget" ? "widget " : "server ", status(request), ` ${duration(request.ms)}`);
  }
  return parts;
}

function buildDetails(entry) {
  const { request } = entry;
  const data = typeof entry.data === "string" ? entry.data : JSON.stringify(entry.data, null, 2);
  const facts = [`entry ${entry.seq}`];
  if (request) facts.push(`request #${request.id} ${request.method} ${request.path}`);
  if (entry.kind === "reset") facts.push(`address ${entry.what}`);
  if (entry.dated) facts.push(`dated ${new Date(entry.dated * 1000).toLocaleString()}`);
  facts.push(...entry.marks.map((mark) => `${mark}: ${MARKS[mark]}`));
  return [
    element("p", { class: "sub" }, facts.join(" · ")),
    element("pre", { tabindex: "0", role: "region", "aria-label": "Data" }, data || "(no data)"),
    element(
      "p",
      { class: "buttons" },
      element("button", { type: "button", onclick: () => copyAsTest(entry) }, "Copy as test"),
      element("button", { type: "button", onclick: () => copy(JSON.stringify(entry, null, 2)) }, "Copy JSON"),
    ),
  ];
}

async function copyAsTest(entry) {
  const { test } = await read(`/sandbox/entries/${entry.seq}/test`);
  copy(test);
}

/* Buttons that choose kinds; none chosen is all of them. */
export function kindButtons(parent, change) {
  const chosen = new Set();
  const buttons = Object.entries(KINDS).map(([kind, label]) => {
    const number = element("span", { class: "count" });
    const button = element("button", { type: "button", "aria-pressed": "false", "data-kind": kind, class: "chip" }, label, " ", number);
    button.addEventListener("click", () => {
      if (!chosen.delete(kind)) chosen.add(kind);
      button.setAttribute("aria-pressed", String(chosen.has(kind)));
      change();
    });
    parent.append(button);
    return { kind, button, number };
  });
  const update = (totals) => {
    for (const { kind, button, number } of buttons) {
      number.textContent = count(totals[kind] || 0);
      button.hidden = !totals[kind] && !chosen.has(kind);
    }
  };
  return { value: () => [...chosen].join(","), update };
}

export function timeline(panel, kinds, extra = {}) {
  return new PagedList(panel, { path: "/sandbox/entries", id: "seq", build: entryRow, extra: () => ({ kind: kinds.value(), ...extra }) });
}
