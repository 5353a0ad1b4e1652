/* A list that is read by pages, with its search and its filters. */

import { coalesced, element, find, keyed, read, setText } from "./dom.js";
import { avatar, count, duration, status, time, visitorLink } from "./format.js";

export class PagedList {
  /* panel: the section; path: of the rows; id: name of a row's number; build: makes a row. */
  constructor(panel, { path, id, build, extra = () => ({}), byOffset = false, onAnswer = () => {} }) {
    Object.assign(this, { path, id, extra, byOffset, onAnswer });
    this.cursors = []; // of the pages before this one, the newest first
    this.rows = find(".rows", panel);
    this.show = keyed(this.rows, build);
    this.form = find(".filter", panel);
    this.refresh = coalesced(() => this.load());
    this.buildPager(find(".pager", panel));
    if (!this.form) return;
    let typed = 0;
    this.form.addEventListener("submit", (event) => event.preventDefault());
    this.form.addEventListener("input", () => {
      clearTimeout(typed);
      typed = setTimeout(() => this.restart(), 120);
    });
  }

  buildPager(pager) {
    const turn = (label, action) => element("button", { type: "button", onclick: action }, label);
    this.newer = turn("Newer", () => this.turn(() => this.cursors.pop()));
    this.older = turn("Older", () => this.turn(() => this.cursors.push(this.next)));
    this.summary = element("p", { class: "shown", role: "status" });
    pager.append(this.summary, this.newer, this.older);
  }

  restart() {
    this.cursors = [];
    return this.refresh();
  }

  async turn(change) {
    change();
    await this.refresh();
    const first = this.rows.querySelector("a, button");
    if (first) first.focus({ preventScroll: true });
    this.rows.scrollIntoView({ block: "nearest" });
  }

  query() {
    const fields = this.form ? Object.fromEntries(new FormData(this.form)) : {};
    const cursor = this.cursors.at(-1);
    const place = cursor === undefined ? {} : { [this.byOffset ? "offset" : "before"]: cursor };
    const pairs = Object.entries({ ...fields, ...this.extra(), ...place }).filter(([, value]) => value !== "");
    return new URLSearchParams(pairs);
  }

  async load() {
    let answer;
    try {
      answer = await read(`${this.path}?${this.query()}`);
    } catch {
      return; // the stream shows that the sandbox does not run
    }
    const { rows, first, matches, of } = answer;
    const last = rows.length ? first + rows.length - 1 : 0;
    this.next = this.byOffset ? last : rows.length ? rows.at(-1)[this.id] : undefined;
    this.show(rows.map((row) => [row[this.id], row]));
    this.newer.hidden = this.cursors.length === 0;
    this.older.hidden = last >= matches;
    const all = matches === of ? "" : ` (${count(of)} in all)`;
    setText(this.summary, rows.length ? `${count(first)}–${count(last)} of ${count(matches)}${all}` : of ? `0 of ${count(of)}` : "Nothing yet");
    this.onAnswer(answer);
  }
}

export function visitorRow(visitor) {
  const about = [visitor.user_id && `id ${visitor.user_id}`, visitor.email !== visitor.name && visitor.email].filter(Boolean).join(" · ");
  const state = visitor.merged_into ? `merged into ${visitor.merged_into.name}` : about || "anonymous";
  const counts = `${count(visitor.hits)} ${visitor.hits === 1 ? "hit" : "hits"} · ${count(visitor.events)} ${visitor.events === 1 ? "event" : "events"}`;
  return element(
    "li",
    { class: visitor.merged_into ? "visitor merged" : "visitor" },
    avatar(visitor),
    element("div", { class: "who" }, visitorLink(visitor), element("p", { class: "sub", title: state }, state)),
    element("div", { class: "numbers" }, time(visitor.last_seen), element("p", { class: "sub" }, counts)),
  );
}

export function requestRow(request) {
  return element(
    "li",
    { class: "request" },
    status(request),
    element("div", { class: "what" }, element("code", {}, `${request.method} ${request.path}`), element("p", { class: "sub" }, `from ${request.sender === "widget" ? "the widget" : "a server"} · #${request.id}`)),
    element("div", { class: "numbers" }, time(request.at), element("p", { class: request.ms > 1000 ? "sub slow" : "sub" }, duration(request.ms))),
  );
}
