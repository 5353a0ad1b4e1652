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
  const SERVER = "@host"; // the host that the request for this script named

  if (window.UE && !(window.UE.__internal && window.UE.__internal.isDestroyed())) {
    console.warn("Widget has been attached multiple times: this copy of the sandbox's widget.js does nothing.");
    return;
  }
  const api = findHost();
  if (!api) {
    console.error("Sandbox widget: cannot find the app domain. Only the host of the sandbox itself may serve this script.");
    return;
  }
  console.info("Sandbox widget: a stand-in for User.com's widget.js, for development. Nothing reaches User.com.");

  let state = {}; // attributes and apiKey, which every ping repeats
  let userKey; // of the last response; calls of userengage() are sent with it
  let callbacks = {}; // of the last ping: as with the vendor's widget, each call clears those before it
  const early = []; // userengage() calls that wait for a user key
  let stuck = false; // an early call has failed; the vendor's widget keeps the rest until the next reset
  let kept; // the cookie after the last response, if the browser keeps one
  let visitor = 0; // counts the changes of the visitor, so that the next visitor sees no message of the last one
  let destroyed = false;
  let ui = null;
  const mounted = whenDomIsReady().then(mount);
  let commands = Promise.resolve();

  /* ---- address and user key ---- */

  /* Only from the host that served it does the script find its server, as the vendor's does from user.com alone. */
  function findHost() {
    const isOurs = (url) => url.pathname.startsWith("/widget") && url.host === new URL(`${url.protocol}//${SERVER}`).host;
    const addresses = [document.currentScript, ...document.scripts].filter((each) => each && each.src).map((each) => new URL(each.src));
    const found = addresses.find((url) => /^https?:$/.test(url.protocol) && isOurs(url));
    return found ? found.origin : null;
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
    return "." + labels.slice(top.length === 2 && /^..?.?$/.test(name) && name.length > 1 ? -3 : -2).join(".");
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
    // Even an event stays, and is sent again. Of a reset, nothing stays.
    state = isReset ? { apiKey: given.apiKey } : omit(attributes, ["userKey"]);
    const view = {
      domain: location.hostname,
      timezone: new Date().getTimezoneOffset(),
      resolution: `${screen.width}x${screen.height}`,
      url: location.href,
      referrer: document.referrer,
    };
    const repeated = UE.isReady && !isReset ? { widget_ready: true } : {};
    const found = destroyed ? undefined : findKey(given.userKey); // after destroy() no key is known
    if (found && window.civchat && !destroyed) window.civchat.userKey = found;
    // Pings do not wait for each other, and even a late response sets its key.
    post("/api/v2/user-chatping/", { ...attributes, userKey: found, ...view, ...repeated })
      .then(adopt)
      .catch((error) => console.warn("Sandbox widget: the ping failed.", error));
  }

  function adopt(answer) {
    const key = answer.user.key;
    const first = !UE.isReady;
    setCookie(key);
    kept = getCookie();
    if (userKey && key !== userKey) forgetVisitor();
    else if (key !== userKey) forgetChat();
    userKey = key;
    if (destroyed) return;
    UE.isReady = true;
    ui.greet(answer);
    if (answer.hasAnyConversations) readChat(answer.user.id);
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
    writeCookie("", new Date(0));
    if (window.civchat) delete window.civchat.userKey;
    state = {};
    userKey = undefined;
    stuck = false;
    forgetVisitor();
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

  /* @widget-channel.js */

  /* @widget-interface.js */
})();
