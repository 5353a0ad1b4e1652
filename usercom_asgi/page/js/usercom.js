// window.usercom: runs commands of the page with the widget, and silences the page if the
// browser's identity is another one than that of the page.
//
// The cookie `__ca__epoch` holds the id of the identity, which every reset changes, and short
// marks of the ended keys, joined by dots. `made` is the id that a page with personal data
// was rendered for. An anonymous page, the same for all visitors, uses the browser's id.
(function (w, HOST, DOMAIN, made, isPost) {
  var CHAT = "__ca__chat", EPOCH = "__ca__epoch", MAX_ENDED = 6;
  var d = document, mine, isSilent = false;

  // In the browser's order, because the first of two cookies with one name is used.
  function values(name) {
    try {
      return d.cookie.split(/; */).filter(function (pair) { return pair.indexOf(name + "=") === 0; })
        .map(function (pair) { return pair.slice(name.length + 1); });
    } catch (e) { return []; } // a frame without an origin
  }

  function put(name, value, domain, path) {
    d.cookie = name + "=" + value + "; path=" + (path || "/") + "; SameSite=Lax" + (domain ? "; domain=" + domain : "") +
      (value ? "; max-age=31536000" : "; expires=Thu, 01 Jan 1970 00:00:00 GMT");
  }

  // The domain of the widget's cookie (docs/usercom.md, 2 [C S3]).
  function cookieDomain() {
    var host = location.hostname, labels = host.split("."), last = labels.length - 1;
    if (DOMAIN || !last || /^[\d.]+$/.test(host)) return DOMAIN;
    return labels.slice(labels[last].length === 2 && labels[last - 1].length <= 3 ? -3 : -2).join(".");
  }

  // Delete a cookie on every domain and path that this page can reach.
  function deleteEverywhere(name) {
    var labels = location.hostname.split("."), paths = ["/"], path = "";
    location.pathname.split("/").slice(1, 9).forEach(function (step) {
      path += "/" + step;
      paths.push(path, path + "/");
    });
    paths.forEach(function (each) {
      put(name, "", "", each);
      labels.forEach(function (_, n) { put(name, "", labels.slice(n).join("."), each); });
    });
  }

  function keep(name, value) {
    put(name, value, cookieDomain());
    var found = values(name);
    if (found.length === 1 && found[0] === value) return;
    deleteEverywhere(name);
    put(name, value, cookieDomain());
  }

  function epoch() {
    return (values(EPOCH)[0] || "").split(".");
  }

  // The same hash as in visitor/cookies.py: it recognises a key and does not reveal it.
  function mark(key) {
    for (var hash = 0x811c9dc5, n = 0; n < key.length; n++) hash = Math.imul(hash ^ key.charCodeAt(n), 16777619);
    return (hash >>> 8).toString(16);
  }

  function hasEnded(key) {
    return epoch().indexOf(mark(key), 1) > 0;
  }

  // Without cookies there is no identity to compare, so the page is current.
  function isStale(id) {
    var now = epoch()[0];
    return isSilent || !!now && now !== (id === undefined ? mine : id);
  }

  // An element of the page with one of these names is window[name] until that is assigned.
  ["usercom", "userengage", "UE"].forEach(function (name) {
    if (!Object.prototype.hasOwnProperty.call(w, name)) w[name] = undefined;
  });

  // The body of another page was swapped in, by the server or the history of htmx or Turbo.
  if (w.usercom) {
    w.usercom.onSwap(made);
    return;
  }

  var waiting = [], calls = [], ran = [], isPaused = false, isOwn = false, pause = 50, timer = 0;
  var turn = 0, known = {}, callbacks = {}, adopted, last, seen, real;
  var KEPT = "usercom.ran", MAX_RAN = 64, LOADED = "usercom.reload", SHOWN = "usercom.epoch";

  // Report an error to the page and continue with the next task.
  function attempt(task) {
    try { return task(); } catch (error) { setTimeout(function () { throw error; }); }
  }

  // UE.isReady is true after the response to the first ping (docs/usercom.md, 1 [C S3]).
  function isReady() {
    return !isPaused && !isSilent && real && w.UE && w.UE.isReady;
  }

  // Queue calls of userengage(...) until the widget is ready, then pass them on one by one. The
  // widget's own queue stops at the first failure, and would send the rest with the key of
  // the visitor after the next reset.
  function enqueue() {
    if (isStale()) return;
    calls.push(arguments);
    check();
  }
  if (typeof w.userengage !== "function") w.userengage = enqueue;

  // Wrap the widget's functions as soon as they exist.
  function wrap() {
    var UE = w.UE, hit, resetAuth;
    if (!UE || UE === seen || typeof w.userengage !== "function" || w.userengage === enqueue) return;
    seen = UE;
    remember(w.civchat);
    real = w.userengage;
    w.userengage = enqueue;
    hit = UE.pageHit;
    resetAuth = UE.resetAuth;
    UE.pageHit = function (attributes) {
      if (isStale()) return;
      if (isPaused) return void ready(function () { w.UE.pageHit(attributes); });
      attempt(removeEnded);
      // The widget would repeat the event of an earlier hit.
      var given = Object.assign({ event: undefined }, again(attributes), adopted && { userKey: adopted });
      adopted = undefined;
      return hit.call(UE, Object.assign(given, fixed(attributes), attributes));
    };
    UE.resetAuth = function (details) {
      if (isStale()) return;
      var isOfPage = !isOwn && details && details.apiKey;
      if (isOfPage) attempt(function () { renew(Math.random().toString(36).slice(2, 14), details); });
      attempt(function () { resetAuth.call(UE, details && Object.assign(again(details), details)); });
      if (isOfPage) resume(200);
    };
  }
  // A script's load event does not bubble, so listen in the capture phase, right after the
  // script has run.
  d.addEventListener("load", function () { attempt(wrap); }, true);

  // Repeat user_id and email with each call, because parameters of the page's address would
  // override those of earlier calls.
  function fixed(attributes) {
    ["user_id", "email"].forEach(function (name) {
      if (attributes && attributes[name] != null) known[name] = attributes[name];
    });
    return Object.assign("user_id" in known || "email" in known ? { user_id: undefined, email: undefined } : {}, known);
  }

  // The widget forgets its callbacks at each call, and removes them from civchat, so keep
  // those that were given last.
  function remember(given) {
    Object.keys(given || {}).forEach(function (name) {
      if (/^on[A-Z]/.test(name) && typeof given[name] === "function") callbacks[name] = given[name];
    });
  }

  // Return the callbacks to repeat in a call. A widget that has loaded does so once.
  function again(given) {
    remember(given);
    var found = Object.assign({}, callbacks);
    if (w.UE.isReady) delete found.onLoad;
    return found;
  }

  function check() {
    clearTimeout(timer);
    if (isSilent) return;
    attempt(wrap);
    while (isReady() && calls.length) attempt(function (args) { real.apply(w, args); }.bind(null, calls.shift()));
    while (isReady() && waiting.length) attempt(waiting.shift().task);
    if ((waiting.length || calls.length) && !isPaused) {
      timer = setTimeout(check, pause);
      pause = Math.min(pause * 1.2, 2000);
    }
  }

  // Run a task once, when the widget is ready. UE cannot be replaced by a stub.
  function ready(task, isCommand) {
    waiting.push({ task: task, isCommand: isCommand });
    pause = 50;
    check();
  }

  // Run each command once in this browser. A page may be shown again from a cache, or be
  // requested twice at the same time.
  function isNew(id) {
    var kept = [];
    try { kept = JSON.parse(localStorage.getItem(KEPT)) || []; } catch (e) {}
    if (ran.indexOf(id) >= 0 || kept.indexOf(id) >= 0) return false;
    ran.push(id);
    try { localStorage.setItem(KEPT, JSON.stringify(kept.concat(id).slice(-MAX_RAN))); } catch (e) {}
    return true;
  }

  // Commands are [id, name, argument, ...]. They can call no other functions than these.
  function run(commands) {
    commands.forEach(function (command) {
      if (isStale() || !isNew(command[0])) return;
      var name = command[1], args = command.slice(2);
      if (name === "UE.resetAuth") return reset(command[0], args[0]);
      ready(function () {
        if (name === "userengage") w.userengage.apply(w, args);
        else if (name === "UE.pageHit") w.UE.pageHit(args[0]);
        else if (name === "UE.destroy") w.UE.destroy();
      }, true);
    });
  }

  // Delay the reset, because a page that is left at a logout must not create a new visitor. The
  // next page does.
  function reset(id, details) {
    var moment = setTimeout(go, 300);
    isPaused = true;
    attempt(function () { renew(id, details); });
    function wait() {
      clearTimeout(moment);
      moment = setTimeout(go, 5000);
    }
    function go() {
      w.removeEventListener("beforeunload", wait);
      if (isStale()) return;
      isOwn = true;
      attempt(function () { if (w.UE) w.UE.resetAuth(details); }); // else by the first ping
      isOwn = false;
      resume(200);
    }
    w.addEventListener("beforeunload", wait);
  }

  // Later commands belong to the new visitor, so wait until the widget has stored the key.
  function resume(tries) {
    isPaused = tries > 0 && !last && !values(CHAT).some(function (key) { return key && !hasEnded(key); });
    if (isPaused) setTimeout(function () { resume(tries - 1); }, 50);
    else check();
  }

  // Start a new identity in this page. Commands and responses of the last one are discarded.
  function renew(id, details) {
    attempt(removeEnded);
    var ended = epoch().slice(1);
    values(CHAT).concat(last || [], adopted || []).forEach(function (key) {
      if (key && ended.indexOf(mark(key)) < 0) ended.push(mark(key));
    });
    turn += 1;
    mine = id;
    calls = [];
    waiting = waiting.filter(function (each) { return !each.isCommand; });
    last = adopted = undefined;
    known = {};
    fixed(details);
    keep(EPOCH, [id].concat(ended.slice(-MAX_ENDED)).join("."));
    forget(details);
    attempt(removeEnded);
    announce();
  }

  // civchat keeps the last visitor's attributes at a reset (docs/usercom.md, 2 [C S3]).
  function forget(details) {
    var civchat = w.civchat || {};
    Object.keys(civchat).forEach(function (name) {
      if (!/^(apiKey|state|widget|__internal)$/.test(name) && typeof civchat[name] !== "function") delete civchat[name];
    });
    Object.assign(civchat, details);
  }

  // Remove ended keys wherever the widget reads one. Adopt a valid key in the address once.
  function removeEnded() {
    var keys = values(CHAT), live = keys.filter(function (key) { return key && !hasEnded(key); }), found = null;
    if (keys.length > 1 || live.length < keys.length) {
      deleteEverywhere(CHAT);
      if (live.length) put(CHAT, live[0], cookieDomain());
    }
    if (epoch().join("")) try { localStorage.removeItem(CHAT); } catch (e) {}
    var kept = location.search.slice(1).split("&").filter(function (pair) {
      var key = new URLSearchParams(pair).get(CHAT);
      if (found === null) found = key;
      return key === null;
    }).join("&");
    if (found === null) return;
    History.prototype.replaceState.call(
      history, history.state, "", location.origin + location.pathname + (kept && "?" + kept) + location.hash
    );
    if (/^[A-Za-z0-9]{1,64}$/.test(found) && !hasEnded(found)) adopted = found;
  }

  // The identity of this page has ended: stop sending, and remove the chat.
  function silence() {
    if (isSilent) return;
    isSilent = true;
    calls = waiting = [];
    attempt(function () { forget(); });
    attempt(function () { if (w.UE) w.UE.destroy(); });
  }

  // Reload at most once in 10 s for one address and identity. A cache between browser and
  // server may return the same page again.
  function reload() {
    try {
      var what = epoch()[0] + " " + location.href, now = Date.now();
      var before = JSON.parse(sessionStorage.getItem(LOADED)) || [];
      if (before[0] === what && Math.abs(now - before[1]) < 10000) return;
      sessionStorage.setItem(LOADED, JSON.stringify([what, now]));
    } catch (e) { return; }
    if (isPost) location.replace(location.href.split("#")[0]); // reload() would send a form again
    else location.reload();
  }

  function recheck(id) {
    attempt(function () {
      if (isStale() || isStale(id)) {
        silence();
        reload();
      } else removeEnded();
    });
  }

  // Another tab has reset the identity. Silence this page; it reloads when it is shown.
  function onIdentityChange() {
    if (isStale()) silence();
  }

  // Notify other tabs of browsers without cookieStore.
  function announce() {
    var id = epoch()[0];
    try { if (id && localStorage.getItem(SHOWN) !== id) localStorage.setItem(SHOWN, id); } catch (e) {}
  }

  // Guard all requests of the widget and their responses.
  var fetch = w.fetch;
  function never() {
    return new Promise(function () {});
  }
  // A prerendered page may never be shown, and counts once it is.
  function shown() {
    return new Promise(function (resolve) { d.addEventListener("prerenderingchange", resolve, { once: true }); });
  }
  // The page that was shown meanwhile may have got the visitor's key.
  function withKey(init) {
    var given = attempt(function () { return JSON.parse(init.body); }), key = values(CHAT)[0];
    if (!given || given.userKey || !key) return init;
    return Object.assign({}, init, { body: JSON.stringify(Object.assign(given, { userKey: key })) });
  }
  function guarded(input, init) {
    var of = turn, isPing = /chatping/.test(input && input.url || input), key = isPing && /"userKey":"(\w+)"/.exec(init && init.body);
    if (isStale()) {
      silence();
      return never();
    }
    if (d.prerendering) return shown().then(function () { return guarded(input, isPing ? withKey(init) : init); });
    if (key && hasEnded(key[1])) {
      attempt(removeEnded);
      return Promise.reject(new TypeError("the user key has ended"));
    }
    return fetch.apply(this, arguments).then(function (response) {
      return response.clone().json().catch(function () {}).then(function (body) {
        var named = body && body.user && body.user.key;
        if (isStale() || named && of !== turn) return never();
        if (named) attempt(function () { onKey(named); });
        setTimeout(check);
        return response;
      });
    });
  }
  // A response with an ended key means that the same visitor has returned.
  function onKey(key) {
    var parts = epoch(), at = parts.indexOf(mark(key), 1);
    last = key;
    if (at > 0) parts.splice(at, 1), keep(EPOCH, parts.join("."));
  }
  if (fetch) {
    w.fetch = function (input) {
      var isVendor = false;
      try { isVendor = String(input && input.url || input).indexOf(HOST + "/") === 0; } catch (e) {}
      return (isVendor ? guarded : fetch).apply(this, arguments);
    };
    attempt(function () { Object.defineProperty(w.fetch, "name", { value: "fetch", configurable: true }); });
  }

  // htmx fires this event for the header HX-Trigger.
  w.addEventListener("usercom", function (event) {
    if (event.detail && Array.isArray(event.detail.commands)) run(event.detail.commands);
  });

  w.usercom = {
    ready: function (task) { ready(task); }, run: run,
    onSwap: function (id) { remember(w.civchat); if (id !== null) recheck(id); }
  };

  // The page is shown again: from memory, from another tab, or by the history of a library.
  ["pageshow", "focus", "popstate", "htmx:historyRestore", "turbo:load"]
    .forEach(function (name) { w.addEventListener(name, function () { recheck(); }); });
  ["visibilitychange", "prerenderingchange"].forEach(function (name) {
    d.addEventListener(name, function () { if (d.visibilityState === "visible") recheck(); });
  });
  w.addEventListener("storage", onIdentityChange);
  attempt(function () { if (w.cookieStore) w.cookieStore.addEventListener("change", onIdentityChange); });

  // Before the widget takes them from civchat.
  d.addEventListener("DOMContentLoaded", function () { remember(w.civchat); }, true);
  remember(w.civchat);

  mine = made === null ? epoch()[0] : made;
  announce();
  recheck();
  attempt(function () {
    if (!w.civchat || isSilent) return;
    Object.assign(w.civchat, fixed(w.civchat));
    if (adopted && !w.civchat.userKey) w.civchat.userKey = adopted;
    adopted = undefined;
  });
})
