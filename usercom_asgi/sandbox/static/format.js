/* Times, numbers and small parts that several views show. */

import { element } from "./dom.js";

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
const day = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "medium" });
const numbers = new Intl.NumberFormat("en");

export const count = (number) => numbers.format(number);

export function time(seconds) {
  const date = new Date(seconds * 1000);
  if (Number.isNaN(date.getTime())) return element("span", { class: "time" }, "?");
  return element("time", { class: "time", datetime: date.toISOString(), title: day.format(date) }, clock.format(date));
}

export function duration(ms) {
  if (ms === null) return "waiting";
  return ms < 1000 ? `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}

export function avatar(visitor) {
  const initials = visitor.name.split(/\s+/).map((word) => [...word][0] || "").slice(0, 2).join("").toUpperCase();
  return element("span", { class: visitor.is_known ? "avatar known" : "avatar", "aria-hidden": "true" }, initials);
}

export function visitorLink(visitor) {
  return element("a", { href: `#/visitor/${visitor.id}` }, visitor.name);
}

export function status(request) {
  if (request.status === null) return element("span", { class: "status waiting" }, "waiting");
  if (request.status === 499) return element("span", { class: "status bad" }, "no answer");
  return element("span", { class: request.status < 300 ? "status good" : "status bad" }, String(request.status));
}

/* The first values in one line; all of them are in the details. */
export function preview({ kind, data, what }) {
  if (kind === "reset") return what;
  if (data === null || data === undefined || data === "") return "";
  if (kind === "identity") return data.why;
  if (kind === "chat") return data.isAdmin ? "from User.com" : "from the visitor";
  if (kind === "fault" || kind === "ignored") return data.path;
  if (typeof data !== "object") return String(data).slice(0, 160);
  const text = ([name, value]) => `${name}: ${typeof value === "object" ? JSON.stringify(value) : value}`;
  return Object.entries(data).slice(0, 4).map(text).join(" · ").slice(0, 160);
}
