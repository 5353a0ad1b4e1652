/* The dashboard: a stream of states, the tabs, the keys, and the views. */

import { coalesced, find, findAll, post, setText } from "./dom.js";
import { count } from "./format.js";
import { PagedList, requestRow, visitorRow } from "./lists.js";
import { kindButtons, timeline } from "./timeline.js";
import { trouble } from "./trouble.js";
import { VisitorPage } from "./visitor.js";

const narrow = matchMedia("(max-width: 1023px)");
const tabs = findAll("[role=tab]");
const pauseButton = find("#pause");
let state = null;
let pausedAt = null; // number of the newest entry when the page was paused
let visitorPage = null;

/* ---- views ---- */

const kinds = kindButtons(find("#timeline .kinds"), () => lists.timeline.restart());
const lists = {
  visitors: new PagedList(find("#visitors"), { path: "/sandbox/visitors", id: "id", build: visitorRow, byOffset: true, onAnswer: ({ of }) => (find("#no-visitors").hidden = of > 0) }),
  timeline: timeline(find("#timeline"), kinds),
  requests: new PagedList(find("#requests"), { path: "/sandbox/requests", id: "id", build: requestRow }),
};
const drawTrouble = trouble(find("#trouble"), draw);

/* ---- tabs and addresses: #/timeline, #/visitor/12; an id alone would move the focus ---- */

const address = (hash) => hash.replace(/^#\/?/, "");

function route() {
  const [name, id] = address(location.hash).split("/");
  if (name === "visitor" && id) return { name, id: Number(id) };
  const isTab = ["timeline", "requests", "trouble"].includes(name) || (name === "visitors" && narrow.matches);
  return { name: isTab ? name : narrow.matches ? "visitors" : "timeline" };
}

function showRoute() {
  const { name, id } = route();
  if (name === "visitor" && (!visitorPage || visitorPage.id !== id)) {
    const named = (text) => setText(find("#tab-visitor"), text);
    visitorPage = new VisitorPage(find("#visitor"), id, { close: closeVisitor, named });
  }
  if (name !== "visitor") visitorPage = null;
  find("#tab-visitor").hidden = name !== "visitor";
  for (const tab of tabs) {
    const panel = find(`#${tab.getAttribute("aria-controls")}`);
    const isShown = panel.id === name;
    tab.setAttribute("aria-selected", String(isShown));
    tab.tabIndex = isShown ? 0 : -1;
    panel.hidden = !isShown && (panel.id !== "visitors" || narrow.matches);
  }
  const visitors = find("#visitors"); // beside the tabs in a wide window, one of them in a narrow one
  if (narrow.matches) visitors.setAttribute("role", "tabpanel");
  else visitors.removeAttribute("role");
  visitors.setAttribute("aria-labelledby", narrow.matches ? "tab-visitors" : "visitors-title");
  if (state) refresh(); // else the first state does
}

let before = "";

function closeVisitor() {
  location.hash = "/" + (before || (narrow.matches ? "visitors" : "timeline"));
}

for (const tab of tabs) {
  tab.addEventListener("click", () => {
    if (tab.id !== "tab-visitor") location.hash = `/${tab.getAttribute("aria-controls")}`;
  });
}
find("[role=tablist]").addEventListener("keydown", (event) => {
  const shown = tabs.filter((tab) => tab.offsetParent !== null);
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  const place = shown.indexOf(document.activeElement);
  const next = step ? shown[(place + step + shown.length) % shown.length] : { Home: shown[0], End: shown.at(-1) }[event.key];
  if (!next) return;
  event.preventDefault();
  next.focus();
  next.click();
});
addEventListener("hashchange", (event) => {
  const old = address(new URL(event.oldURL).hash);
  if (!old.startsWith("visitor/")) before = old;
  showRoute();
});
narrow.addEventListener("change", showRoute);

/* ---- the stream ---- */

const refresh = coalesced(async () => {
  const { name } = route();
  const shown = [narrow.matches && name !== "visitors" ? null : lists.visitors, name === "visitor" ? visitorPage : name === "visitors" ? null : lists[name]];
  await Promise.all(shown.filter(Boolean).map((each) => each.refresh()));
});

function draw(next) {
  if (state && next.moment < state.moment) return; // a newer one came first, on another connection
  state = next;
  const isFine = state.faults.length === 0;
  setText(find("#health"), isFine ? "User.com is fine" : `User.com ${state.faults.join("; ")}`);
  find("#health").className = isFine ? "health" : "health bad";
  setText(find("#api-key"), state.api_key);
  setText(
    find("#snippet"),
    `<script>window.civchat = ${JSON.stringify({ apiKey: state.api_key })};</script>\n<script src="${location.origin}/widget.js"></script>`,
  );
  drawTrouble(state);
  const counts = { visitors: state.visitors, timeline: state.entries, requests: state.requests, trouble: state.faults.length };
  for (const [name, number] of Object.entries(counts)) setText(find(`#tab-${name} .count`), number ? count(number) : "");
  setText(find("#visitors-title .count"), state.visitors ? count(state.visitors) : "");
  kinds.update(state.totals);
  if (pausedAt === null) refresh();
  else showPause();
}

function showPause() {
  const isPaused = pausedAt !== null;
  const fresh = isPaused ? state.seq - pausedAt : 0;
  setText(pauseButton, isPaused ? `Resume${fresh > 0 ? ` (${count(fresh)} new)` : ""}` : "Pause");
  pauseButton.setAttribute("aria-pressed", String(isPaused));
}

function togglePause() {
  pausedAt = pausedAt === null ? state.seq : null;
  showPause();
  if (pausedAt === null) refresh();
}

let stream = null;

/* Only a visible page listens: a browser has six connections to a host, for all of its tabs. */
function listen() {
  if (document.hidden) {
    if (stream) stream.close();
    stream = null;
  } else if (!stream) {
    stream = new EventSource("/sandbox/stream");
    stream.addEventListener("open", () => state && (state.moment = 0)); // a restarted sandbox may count from zero
    stream.addEventListener("state", ({ data }) => draw(JSON.parse(data)));
    stream.addEventListener("error", () => {
      setText(find("#health"), "The sandbox does not run");
      find("#health").className = "health bad";
    });
  }
}

/* ---- buttons and keys ---- */

pauseButton.addEventListener("click", togglePause);
find("#clear").addEventListener("click", () => find("#confirm").showModal());
find("#confirm").addEventListener("close", async ({ target }) => {
  if (target.returnValue !== "clear") return;
  target.returnValue = "";
  for (const list of Object.values(lists)) list.cursors = [];
  if (visitorPage) closeVisitor();
  const next = await post("/sandbox/clear", {});
  if (next) draw(next);
});

/* Move between the links or buttons that open the rows of a list. */
function move(step) {
  const within = document.activeElement.closest(".rows") || find(".panel:not([hidden]):not(#visitors) .rows") || find("#visitors .rows");
  const places = findAll(":scope > li > .what > .open, :scope > li > .who > a, :scope > .request", within);
  for (const row of places) if (row.matches(".request")) row.tabIndex = -1;
  const place = places.indexOf(document.activeElement);
  const next = places[place < 0 ? 0 : Math.max(0, Math.min(place + step, places.length - 1))];
  if (next) next.focus();
}

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || find("dialog[open]")) return;
  const isTyping = event.target.closest("input, textarea, select");
  if (event.key === "Escape") {
    if (isTyping) event.target.blur();
    else if (visitorPage) closeVisitor();
    return;
  }
  if (isTyping || event.target.closest("[role=tablist], pre, [role=log]")) return;
  const { name } = route();
  const isArrow = event.target.closest(".rows");
  if (event.key === "/") {
    event.preventDefault();
    (find(`#${name} input[type=search]`) || find("#visitors input[type=search]")).focus();
  } else if (event.key === "p") togglePause();
  else if (event.key === "j" || (event.key === "ArrowDown" && isArrow)) {
    event.preventDefault();
    move(1);
  } else if (event.key === "k" || (event.key === "ArrowUp" && isArrow)) {
    event.preventDefault();
    move(-1);
  }
});

document.addEventListener("visibilitychange", listen);
addEventListener("pagehide", () => stream && (stream.close(), (stream = null)));
addEventListener("pageshow", listen);
showRoute();
listen();
