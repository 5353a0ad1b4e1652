/* Part of widget.js, which the server puts it into: what User.com sends to the pages of a visitor.
 * Server-sent events here, a WebSocket in the vendor's widget. */

  /* Only a visible page listens: a browser has six connections to a host, for all of its tabs. */
  function listen() {
    if (document.hidden || destroyed || !userKey || !window.EventSource) return leave();
    const address = `${api}/widget/stream?${new URLSearchParams({ api_key: state.apiKey, user_key: userKey })}`;
    if (channel && channel.url === address) return;
    leave();
    channel = new EventSource(address);
    channel.addEventListener("push", ({ data }) => receive(JSON.parse(data)));
  }

  function leave() {
    if (channel) channel.close();
    channel = null;
  }

  function receive(message) {
    if (message.type === "chat") {
      addMessage(message);
      ui.alert(message.content);
    } else if (message.type === "json_payload") call("onPayloadReceived", message.payload);
    else if (message.type === "open") ui.open();
    else if (message.type === "close") ui.close();
  }

  document.addEventListener("visibilitychange", listen);
  addEventListener("pagehide", leave); // an open channel would keep the page out of the back-forward cache
  addEventListener("pageshow", listen);
