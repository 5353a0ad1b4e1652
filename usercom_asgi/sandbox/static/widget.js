/* Stand-in for User.com's widget.js, written from its documented behaviour, not from the vendor's code.
 * It behaves like the vendor's widget towards pages and servers, and looks different. */
(function () {
  "use strict";

  const COOKIE = "__ca__chat";
  const CALLBACKS = ["onLoad", "onPayloadReceived", "onMessage", "onOpen", "onClose", "onDestroy"];
  const NOT_SENT = [...CALLBACKS, "widget", "source_context", "__internal"];
  const LEAVING = ["turbolinks:visit", "page:before-change", "turbolinks:before-cache", "turbolinks:load", "page:change"];
  const LOOKS = ["standard", "simple", "expanded", "hidden"];
  const ALIASES = { "conditionally hidden": "hidden", "without welcome message": "simple" };
  const STYLE = "@widget.css"; // replaced by the server, so that a page loads one file

  if (window.UE && !(window.UE.__internal && window.UE.__internal.isDestroyed())) {
    console.warn("Widget has been attached multiple times: this copy of the sandbox's widget.js does nothing.");
    return;
  }
  const api = findHost();
  if (!api) {
    console.error("Sandbox widget: cannot find the script's own address.");
    return;
  }

  let state = {}; // attributes and apiKey, which every ping repeats
  let userKey; // of the last response; calls of userengage() are sent with it
  let callbacks = {}; // of the last ping: as with the vendor's widget, each call clears those before it
  const early = []; // userengage() calls that wait for a user key
  let stuck = false; // an early call has failed; the vendor's widget keeps the rest until the next reset
  let visitor = 0; // counts the resets, so that the next visitor sees no message of the last one
  let destroyed = false;
  let ui = null;
  let channel = null; // of what User.com sends to this visitor
  const mounted = whenDomIsReady().then(mount);
  let pings = Promise.resolve(); // one at a time, so that a page creates one user
  let commands = Promise.resolve();

  /* ---- address and user key ---- */

  function findHost() {
    const isOurs = (script) => script && script.src && script.src.includes("/widget.js");
    const script = isOurs(document.currentScript) ? document.currentScript : [...document.scripts].find(isOurs);
    return script ? new URL(script.src).origin : null;
  }

  function omit(object, names) {
    return Object.fromEntries(Object.entries(object || {}).filter(([name]) => !names.includes(name)));
  }

  /* The vendor's rule, with its errors: two labels, or three if the last two look like "co.uk". */
  function cookieDomain(hostname) {
    if (hostname === "localhost" || /^\d+\.\d+\.\d+\.\d+$/.test(hostname)) return hostname;
    const labels = hostname.split(".");
    if (labels.length < 2) return undefined;
    const [name, top] = labels.slice(-2);
    return "." + labels.slice(top.length === 2 && name.length <= 3 ? -3 : -2).join(".");
  }

  function writeCookie(key, expires) {
    const scope = `path=/; domain=${cookieDomain(location.hostname)}; SameSite=Lax`;
    document.cookie = `${COOKIE}=${key}; expires=${expires.toUTCString()}; ${scope}`;
  }

  function setCookie(key) {
    writeCookie(key, new Date(Date.now() + 365 * 24 * 3600 * 1000));
  }

  function getCookie() {
    const found = document.cookie.split("; ").find((pair) => pair.startsWith(COOKIE + "="));
    return found ? found.slice(COOKIE.length + 1) : undefined;
  }

  function legacyKey() {
    let key = null;
    try {
      key = localStorage.getItem(COOKIE);
    } catch (error) {
      return undefined; // storage is not allowed
    }
    if (key) setCookie(key);
    return key || undefined;
  }

  function findKey(explicit) {
    return explicit || legacyKey() || new URLSearchParams(location.search).get(COOKIE) || getCookie() || undefined;
  }

  /* Each ping has all other parameters of the page's address. They override earlier calls, but not this one. */
  function addressAttributes() {
    return omit(Object.fromEntries(new URLSearchParams(location.search)), [COOKIE, ...NOT_SENT]);
  }

  /* ---- requests to User.com ---- */

  async function post(path, body) {
    const answer = await fetch(api + path, {
      method: "POST",
      credentials: "include",
      headers: { "Content-Type": "application/json", "X-Requested-With": "XMLHttpRequest" },
      body: JSON.stringify(body),
    });
    if (!answer.ok) throw new Error(`${path} answered ${answer.status}`);
    return answer.json();
  }

  function ping(given) {
    const isReset = given.create_new_gu;
    callbacks = Object.fromEntries(CALLBACKS.map((name) => [name, given[name]]).filter(([, each]) => typeof each === "function"));
    if (given === window.civchat) for (const name of CALLBACKS) delete given[name];
    const attributes = { ...state, ...addressAttributes(), ...omit(given, NOT_SENT) };
    state = omit(attributes, ["create_new_gu", "userKey"]); // even an event stays, and is sent again
    const view = {
      domain: location.hostname,
      timezone: new Date().getTimezoneOffset(),
      resolution: `${screen.width}x${screen.height}`,
      url: location.href,
      referrer: document.referrer,
    };
    pings = pings.then(async () => {
      const repeated = UE.isReady && !isReset ? { widget_ready: true } : {};
      const found = destroyed ? undefined : findKey(given.userKey); // after destroy() no key is known
      if (found && window.civchat && !destroyed) window.civchat.userKey = found;
      try {
        // Even a late response sets its key, as in the vendor's widget.
        adopt(await post("/api/v2/user-chatping/", { ...attributes, userKey: found, ...view, ...repeated }));
      } catch (error) {
        console.warn("Sandbox widget: the ping failed.", error);
      }
    });
  }

  function adopt(answer) {
    const key = answer.user.key;
    const first = !UE.isReady;
    setCookie(key);
    userKey = key;
    if (destroyed) return;
    UE.isReady = true;
    ui.greet(answer);
    listen();
    if (first) start(state.state || ((window.civchat || {}).widget || {}).state);
    flush();
  }

  /* One after the other. If one fails, the rest stays until the response to a reset. */
  async function flush() {
    if (stuck) return;
    stuck = true;
    while (early.length) if (!(await run(...early.shift()))) return;
    stuck = false;
  }

  function start(asked) {
    const look = LOOKS.includes(asked) ? asked : ALIASES[asked] || "standard";
    ui.start(look);
    call("onLoad");
    if (look === "expanded") ui.open();
  }

  function call(name, ...args) {
    try {
      if (callbacks[name]) callbacks[name](...args);
    } catch (error) {
      console.error(`Sandbox widget: the page's ${name} failed.`, error);
    }
  }

  /* ---- userengage(...) ---- */

  function run(command, payload) {
    const by = { api_key: state.apiKey, user_key: userKey, domain: location.hostname };
    const data = JSON.stringify(payload || {});
    const event = (name) => send("/api/event/", { ...by, event: name, data });
    if (command.startsWith("event.")) return event(command.split(".")[1]); // a further dot ends the name
    if (command === "product_event") return send("/api/product_event/", { ...by, data });
    if (command === "client.update") {
      return send("/api/update-attribute/", { apiKey: by.api_key, userKey: by.user_key, data: [payload || {}] });
    }
    if (/^widget\.clicked_(open|closed)$/.test(command)) return event(command.replace(".", "_"));
    if (/^widget\.(open|close|show|hide)$/.test(command)) return ui[command.slice(7)](), true;
    console.warn(`Sandbox widget: no such command: ${command}`);
    return false;
  }

  /* Return a promise of whether the call was accepted. */
  function send(path, body) {
    const sent = commands.then(() => post(path, body));
    commands = sent.catch((error) => console.warn("Sandbox widget:", error));
    return sent.then(() => true, () => false);
  }

  function userengage(command, payload) {
    if (userKey && UE.isReady && !destroyed) run(String(command), payload);
    else early.push([String(command), payload]);
  }

  /* ---- UE ---- */

  const whenMounted = (task) => (ui ? task() : mounted.then(task));

  function pageHit(given) {
    if (!destroyed || (given && given.apiKey)) whenMounted(() => ping(given || {}));
  }

  function resetAuth(given) {
    if (given && given.apiKey) whenMounted(() => startOver(given));
    else console.error("apiKey is required");
  }

  function startOver(given) {
    if (destroyed) return;
    visitor += 1;
    writeCookie("", new Date(0));
    if (window.civchat) delete window.civchat.userKey;
    state = {};
    userKey = undefined;
    stuck = false;
    pings = Promise.resolve();
    leave();
    ui.forget();
    ping({ ...given, create_new_gu: true });
  }

  function destroy() {
    if (destroyed) return;
    destroyed = true;
    for (const name of LEAVING) document.removeEventListener(name, destroy);
    leave();
    if (ui) ui.remove();
    UE.isReady = false;
    userKey = undefined;
    call("onDestroy"); // UE and userengage stay, but later calls are never sent
  }

  /* An addition: lets a test or a demo act as the "Send Code" automation. */
  const receivePayload = (message) => call("onPayloadReceived", message);
  const UE = { isReady: false, pageHit, resetAuth, destroy, __internal: { cookieDomain, receivePayload, isDestroyed: () => destroyed } };
  window.UE = UE;
  window.userengage = userengage;
  for (const name of LEAVING) document.addEventListener(name, destroy);

  /* ---- start ---- */

  function whenDomIsReady() {
    if (document.readyState !== "loading") return Promise.resolve();
    return new Promise((resolve) => document.addEventListener("DOMContentLoaded", () => resolve(), { once: true }));
  }

  function mount() {
    if (destroyed) return;
    ui = createInterface();
    if (window.civchat) ping(window.civchat);
  }

  /* ---- the chat, which the sandbox stores for each user key ---- */

  function sendMessage(content) {
    const now = visitor;
    const body = { api_key: state.apiKey, user_key: userKey, domain: location.hostname, content };
    addMessage({ content, isAdmin: false });
    commands = commands
      .then(() => post("/api/conversation/new/", body))
      .then(({ reply }) => now === visitor && !destroyed && addMessage(reply))
      .catch(() => now === visitor && ui.note("Not sent: User.com does not answer."));
  }

  function addMessage({ content, isAdmin }) {
    ui.line(content, isAdmin);
    call("onMessage", { content, isAdmin });
  }

  /* @widget-channel.js */

  /* ---- user interface ---- */

  function element(tag, name, content) {
    const made = document.createElement(tag);
    made.className = name || "";
    if (content !== undefined) made.textContent = content; // never HTML: it may come from a visitor
    return made;
  }

  function button(name, label, content, click) {
    const made = element("button", name, content);
    made.type = "button";
    made.setAttribute("aria-label", label);
    made.addEventListener("click", click);
    return made;
  }

  function createInterface() {
    const host = element("div");
    host.id = "__ue_widget_mount";
    host.hidden = true;
    const root = host.attachShadow({ mode: "open" });
    root.innerHTML = "<style></style>"; // fails where the page's policy requires Trusted Types, and so does the start
    root.firstChild.textContent = STYLE; // without a nonce, so the page's policy on styles may block it
    const title = element("strong", "title");
    const who = element("span", "who");
    const lines = element("div", "lines");
    const input = element("input", "input");
    const greeting = button("greeting", "Open the chat", "", open);
    const launcher = button("launcher", "Open the chat", "", () => (panel.hidden ? open() : close()));
    const panel = buildPanel();
    const corner = element("div", "corner");
    corner.append(launcher, element("span", "sandbox", "sandbox"));
    root.append(panel, greeting, corner);
    corner.setAttribute("role", "region");
    corner.setAttribute("aria-label", "Chat of the sandbox");
    lines.setAttribute("role", "log");
    greeting.hidden = panel.hidden = true;
    document.body.append(host);

    function buildPanel() {
      const made = element("section", "panel");
      const head = element("header", "head");
      const names = element("div", "names");
      const form = element("form", "form");
      const submit = element("button", "send", "Send");
      made.setAttribute("aria-label", "Chat");
      input.placeholder = "Write a message…";
      input.setAttribute("aria-label", "Message");
      names.append(title, who);
      head.append(names, element("span", "sandbox", "sandbox"), button("close", "Close the chat", "×", close));
      form.append(input, submit);
      form.addEventListener("submit", (event) => {
        event.preventDefault();
        const content = input.value.trim();
        input.value = "";
        if (content && userKey) sendMessage(content);
      });
      made.addEventListener("keydown", (event) => event.key === "Escape" && close());
      made.append(head, lines, form);
      return made;
    }

    function add(name, content) {
      lines.append(element("p", name, content));
      lines.scrollTop = lines.scrollHeight;
    }

    const line = (content, isAdmin) => add(isAdmin ? "line agent" : "line", content);
    const note = (content) => add("note", content);

    function greet({ user, widget, conversation }) {
      title.textContent = user.is_known ? `Hello, ${user.name}` : "Hello!";
      who.textContent = `${user.is_known ? "known" : "anonymous"} visitor ${user.key.slice(0, 4)}…`;
      greeting.textContent = widget.settings.greeting;
      lines.replaceChildren();
      note(`You are talking to ${widget.settings.agent}`);
      for (const message of conversation) line(message.content, message.isAdmin);
    }

    function toggle(opened) {
      if (panel.hidden !== opened) return;
      panel.hidden = !opened;
      greeting.hidden = true;
      launcher.classList.toggle("opened", opened);
      launcher.setAttribute("aria-label", opened ? "Close the chat" : "Open the chat");
      call(opened ? "onOpen" : "onClose");
    }

    function open() {
      host.hidden = false;
      toggle(true);
      input.focus({ preventScroll: true });
    }

    function close() {
      toggle(false);
    }

    function start(look) {
      host.hidden = look === "hidden";
      greeting.hidden = look !== "standard";
    }

    function forget() {
      lines.replaceChildren();
      title.textContent = "Hello!";
      who.textContent = input.value = "";
    }

    /* Show a line of User.com beside the launcher, if the panel is closed. */
    function alert(content) {
      greeting.textContent = content;
      greeting.hidden = !panel.hidden;
    }

    const show = () => (host.hidden = false);
    const hide = () => (host.hidden = true);
    const remove = () => host.remove();
    return { open, close, alert, show, hide, start, greet, line, note, forget, remove };
  }
})();
