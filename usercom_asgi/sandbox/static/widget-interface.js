/* Part of widget.js, which the server puts it into: what a visitor sees. */

  const DISMISSED = "__sandbox__greeting"; // in sessionStorage, so for one visit

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
    const greeting = element("div", "greeting");
    const invitation = button("invitation", "Open the chat", "", open);
    greeting.append(invitation, button("dismiss", "Close the greeting", "×", dismiss));
    const launcher = button("launcher", "Open the chat", "", () => (panel.hidden ? open() : close()));
    const panel = buildPanel();
    const corner = element("div", "corner");
    corner.append(launcher, element("span", "dot"), element("span", "sandbox", "for development"));
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
      names.append(title, who, element("span", "sandbox", "for development"));
      head.append(names, button("close", "Close the chat", "×", close));
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

    function greet({ user, widget }) {
      title.textContent = user.is_known ? `Hello, ${user.name}` : "Hello!";
      who.textContent = `${user.is_known ? "known" : "anonymous"} visitor ${user.key.slice(0, 4)}…`;
      if (greeting.hidden) invitation.textContent = widget.settings.greeting;
      if (!lines.firstChild) note(`You are talking to ${widget.settings.agent}`);
    }

    /* The greeting invites on wide windows only, and a dot on the launcher does on narrow ones. */
    function invite(visible) {
      greeting.hidden = !visible;
      corner.classList.toggle("calling", visible);
      const invited = visible ? `: ${invitation.textContent}` : "";
      if (panel.hidden) launcher.setAttribute("aria-label", `Open the chat${invited}`);
    }

    function dismiss() {
      invite(false);
      remember("closed");
      launcher.focus({ preventScroll: true });
    }

    function toggle(opened) {
      if (panel.hidden !== opened) return;
      panel.hidden = !opened;
      launcher.setAttribute("aria-label", opened ? "Close the chat" : "Open the chat");
      launcher.classList.toggle("opened", opened);
      invite(false);
      remember("opened");
      if (opened) markRead();
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
      invite(look === "standard" && panel.hidden && !remembered());
    }

    function forget() {
      lines.replaceChildren();
      title.textContent = "Hello!";
      who.textContent = invitation.textContent = input.value = "";
      invite(false);
      remember("");
    }

    /* Show a line of User.com beside the launcher, if the panel is closed. */
    function alert(content) {
      if (!panel.hidden) return markRead();
      invitation.textContent = content;
      invite(true);
    }

    const show = () => (host.hidden = false);
    const hide = () => (host.hidden = true);
    const remove = () => host.remove();
    const seen = () => invite(false);
    const clear = () => lines.replaceChildren();
    return { open, close, alert, seen, clear, show, hide, start, greet, line, note, forget, remove };
  }

  function remember(what) {
    try {
      sessionStorage.setItem(DISMISSED, what);
    } catch (error) {
      // storage is not allowed, and each page greets
    }
  }

  function remembered() {
    try {
      return sessionStorage.getItem(DISMISSED);
    } catch (error) {
      return null;
    }
  }
