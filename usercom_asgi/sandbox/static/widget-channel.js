/* Part of widget.js, which the server puts it into: the chat, and the socket of the visitor. */

  const FIRST_RETRY = 1500, LAST_RETRY = 30_000, FACTOR = 1.8; // milliseconds, as in the vendor's widget
  let socket = null;
  let retry = null;
  let failures = 0;
  let away = false; // the page is in the back-forward cache
  let conversation; // its id, if the visitor has one
  let shown = new Set(); // ids and entropies of the lines in the panel
  let pending = new Set(); // entropies of lines that User.com has not confirmed

  /* ---- lines ---- */

  function sendMessage(content) {
    if (leaveOther()) return notSent("the visitor has changed. Reload the page.");
    const now = visitor;
    const entropy = Math.random().toString(36).slice(2, 11);
    const author = { id: conversation, name: "", avatar: null };
    const source_context = { page: location.pathname, source: 1 };
    addMessage({ content, entropy, is_native: false });
    if (conversation && isOpen()) {
      pending.add(entropy);
      transmit("chat", { content, entropy, id: entropy, convo_id: conversation, author, source: 1, source_context, type: "message" });
      return;
    }
    const body = { api_key: state.apiKey, user_key: userKey, message: content, entropy, source_context };
    commands = commands
      .then(() => post("/api/conversation/new/", body))
      .then(({ conversation: made, reply }) => {
        if (now !== visitor || destroyed) return;
        conversation = made.id;
        addMessage(reply);
      })
      .catch(() => now === visitor && notSent());
  }

  const notSent = (reason = "User.com does not answer.") => ui && ui.note(`Not sent: ${reason}`);

  function addMessage({ id, entropy, content, is_native }, isNew = true) {
    if ([id, entropy].some((each) => each && shown.has(each))) return false;
    for (const each of [id, entropy]) if (each) shown.add(each);
    ui.line(content, is_native);
    if (isNew) call("onMessage", { content, isAdmin: is_native });
    return true;
  }

  /* Show what the visitor wrote and read on other pages. */
  async function readChat(id) {
    const now = visitor;
    const key = userKey;
    conversation = id;
    const answer = await fetch(`${api}/api/v2/conversation/`, {
      credentials: "include",
      headers: { "X-Requested-With": "XMLHttpRequest", "clientuser-key": key, "convo-id": String(id) },
    }).then((each) => (each.ok ? each.json() : { results: [] }), () => ({ results: [] }));
    if (now !== visitor || key !== userKey || destroyed) return;
    for (const message of answer.results.reverse()) addMessage(message, false);
  }

  function forgetChat() {
    conversation = undefined;
    shown = new Set();
    pending = new Set();
    if (ui) ui.clear();
  }

  function forgetVisitor() {
    visitor += 1; // answers that are on their way are not shown
    leave();
    forgetChat();
    if (ui) ui.forget();
  }

  /* Return whether another page has changed the visitor, whose chat is then removed from this one. */
  function leaveOther() {
    if (!userKey || getCookie() === kept) return false;
    forgetVisitor();
    return true;
  }

  function markRead() {
    if (conversation && isOpen()) transmit("read", { conversation_id: conversation });
  }

  /* ---- socket ---- */

  const isOpen = () => socket !== null && socket.readyState === WebSocket.OPEN;
  const transmit = (type, payload) => socket.send(JSON.stringify(payload ? { type, payload } : { type }));

  function listen() {
    if (away || destroyed || !userKey || !window.WebSocket || leaveOther()) return leave();
    const path = [state.apiKey, userKey].map(encodeURIComponent).join("/");
    const address = `${api.replace("http", "ws")}/ws/widget/${path}/`;
    if (socket && socket.url === address) return;
    leave();
    try {
      connect((socket = new WebSocket(address)));
    } catch (error) {
      console.warn("Sandbox widget: the page's policy allows no socket.", error);
    }
  }

  function connect(made) {
    let opened = false;
    made.addEventListener("open", () => {
      opened = true;
      transmit("widget_ready");
      if (failures && conversation) readChat(conversation);
      failures = 0;
    });
    made.addEventListener("message", ({ data }) => made === socket && !leaveOther() && receive(JSON.parse(data)));
    made.addEventListener("close", () => {
      if (made !== socket) return;
      socket = null;
      if (pending.size) notSent();
      pending.clear();
      if (!opened && !failures) console.warn("Sandbox widget: no socket, so that answers of User.com appear at the next page view.");
      retry = setTimeout(listen, Math.min(LAST_RETRY, FIRST_RETRY * FACTOR ** failures));
      failures += 1;
    });
  }

  function leave() {
    clearTimeout(retry);
    const left = socket;
    socket = null;
    if (left) left.close();
  }

  function receive({ type, payload }) {
    if (type === "chat") {
      conversation = payload.conversation_id;
      if (addMessage(payload) && payload.is_native) ui.alert(payload.content);
    } else if (type === "delivered") pending.delete(payload.temp_id);
    else if (type === "selfRead") ui.seen();
    else if (type === "action" && payload.type === "json_payload") call("onPayloadReceived", payload.content);
    else if (type === "open") ui.open(); // this and the next one are additions
    else if (type === "close") ui.close();
  }

  addEventListener("pagehide", () => {
    away = true; // an open socket would keep the page out of the back-forward cache
    leave();
  });
  addEventListener("pageshow", () => {
    away = false;
    listen();
  });
  document.addEventListener("visibilitychange", leaveOther);
