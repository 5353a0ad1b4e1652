/* The page of one visitor: identity, attributes, company, activity, chat and refusals. */

import { coalesced, element, keyed, notify, post, read, setText } from "./dom.js";
import { avatar, time } from "./format.js";
import { entryRow, kindButtons, timeline } from "./timeline.js";

export class VisitorPage {
  constructor(panel, id, { close, named }) {
    Object.assign(this, { panel, id, named });
    this.refresh = coalesced(() => this.load());
    this.build(close);
  }

  build(close) {
    this.head = element("div", { class: "person" });
    this.facts = element("dl", { class: "facts" });
    this.history = element("ol", { class: "rows", "aria-label": "Identity history" });
    this.showHistory = keyed(this.history, entryRow);
    this.attributes = element("tbody");
    this.company = element("dl", { class: "facts" });
    this.companyPart = this.part("Company", this.company);
    this.refused = element("ol", { class: "rows", "aria-label": "Refused requests" });
    this.showRefused = keyed(this.refused, entryRow);
    this.refusedPart = this.part("Refused", this.refused);
    this.noAttributes = element("p", { class: "hint" }, "None yet.");
    const head = ["Name", "Value", "Type", "Origin"].map((name) => element("th", { scope: "col" }, name));
    this.table = element("table", {}, element("thead", {}, element("tr", {}, head)), this.attributes);
    const kinds = element("div", { class: "kinds", role: "group", "aria-label": "Kinds of this visitor" });
    const activity = element("div", {}, kinds, element("ol", { class: "rows", "aria-label": "Activity" }), element("div", { class: "pager" }));
    this.kinds = kindButtons(kinds, () => this.list.restart());
    this.list = timeline(activity, this.kinds, { visitor: this.id });
    this.panel.replaceChildren(
      element("div", { class: "bar" }, this.head, element("button", { type: "button", class: "close", onclick: close }, "Close")),
      this.facts,
      this.part("Identity", this.history),
      this.part("Attributes", this.noAttributes, this.table),
      this.companyPart,
      this.refusedPart,
      this.buildChat(),
      this.part("Activity", activity),
    );
  }

  part(title, ...content) {
    return element("section", { class: "part" }, element("h3", {}, title), ...content);
  }

  buildChat() {
    this.listens = element("p", { class: "hint" });
    this.lines = element("div", { class: "lines", role: "log", "aria-label": "Chat", tabindex: "0" });
    this.showLines = keyed(this.lines, (line) => element("p", { class: line.isAdmin ? "line agent" : "line" }, element("span", { class: "hidden" }, line.isAdmin ? "User.com: " : "Visitor: "), line.content));
    const message = element("input", { name: "content", required: true, placeholder: "Answer as User.com", "aria-label": "Answer as User.com", autocomplete: "off" });
    const payload = element("input", { name: "payload", required: true, value: '{"discount": 10}', "aria-label": "Payload of Send Code, JSON", spellcheck: "false" });
    const say = (event) => {
      event.preventDefault();
      if (message.value.trim()) this.act({ action: "message", content: message.value.trim() });
      message.value = "";
    };
    const send = (event) => {
      event.preventDefault();
      try {
        this.act({ action: "code", payload: JSON.parse(payload.value) });
      } catch {
        notify("The payload is not JSON");
      }
    };
    const button = (label, action) => element("button", { type: "button", onclick: () => this.act({ action }) }, label);
    return this.part(
      "Chat",
      this.listens,
      this.lines,
      element("form", { class: "inline", "aria-label": "Answer", onsubmit: say }, message, element("button", {}, "Send")),
      element("form", { class: "inline", "aria-label": "Send Code", onsubmit: send }, payload, element("button", {}, "Send Code")),
      element("p", { class: "buttons" }, button("Open the chat", "open"), button("Close the chat", "close")),
    );
  }

  async act(body) {
    if (await post("/sandbox/act", { visitor: this.id, ...body })) this.refresh();
  }

  async load() {
    let visitor;
    try {
      visitor = await read(`/sandbox/visitors/${this.id}`);
    } catch (error) {
      if (error.status === 404) this.panel.replaceChildren(element("p", { class: "empty" }, "This visitor does not exist any more."));
      return;
    }
    this.named(visitor.name);
    const state = visitor.merged_into ? "merged" : visitor.is_known ? "known" : "anonymous";
    this.head.replaceChildren(avatar(visitor), element("div", {}, element("h2", {}, visitor.name), element("p", { class: "sub" }, `${state} visitor ${visitor.id}`)));
    showFacts(this.facts, {
      "User id": visitor.user_id,
      Email: visitor.email,
      "First seen": time(visitor.created_at),
      "Last seen": time(visitor.last_seen),
      Keys: visitor.keys.join(", "),
      "Merged into": visitor.merged_into && element("a", { href: `#/visitor/${visitor.merged_into.id}` }, visitor.merged_into.name),
    });
    this.showHistory(visitor.history.map((entry) => [entry.seq, entry]));
    this.noAttributes.hidden = visitor.attributes.length > 0;
    this.table.hidden = visitor.attributes.length === 0;
    this.attributes.replaceChildren(...visitor.attributes.map(attributeRow));
    showFacts(this.company, visitor.company);
    this.companyPart.hidden = Object.keys(visitor.company).length === 0;
    this.showRefused(visitor.refused.map((entry) => [entry.seq, entry]));
    this.refusedPart.hidden = visitor.refused.length === 0;
    setText(this.listens, visitor.listens ? "A page of this visitor is open, and gets what you send." : "No page of this visitor is open. It shows your answers when it opens one.");
    const lines = visitor.conversation.slice(-100);
    const atEnd = this.lines.scrollTop + this.lines.clientHeight >= this.lines.scrollHeight - 4;
    this.showLines(lines.map((line, index) => [`${line.at} ${index}`, line]));
    this.lines.hidden = lines.length === 0;
    if (atEnd) this.lines.scrollTop = this.lines.scrollHeight;
    this.kinds.update(visitor.totals);
    await this.list.refresh();
  }
}

function showFacts(list, values) {
  const pairs = Object.entries(values).filter(([, value]) => value !== null && value !== "");
  const shown = (value) => (value instanceof Node ? value : typeof value === "object" ? JSON.stringify(value) : String(value));
  list.replaceChildren(...pairs.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, shown(value)))));
}

function attributeRow({ name, value, type, origin }) {
  const shown = typeof value === "string" ? value : JSON.stringify(value);
  return element("tr", {}, element("th", { scope: "row" }, name), element("td", {}, shown), element("td", {}, type), element("td", {}, origin));
}
