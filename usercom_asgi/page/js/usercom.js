// What a page says to its widget, and the guard that keeps it silent for anybody else than the identity it was made for:
// window.usercom.
//
// `__ca__epoch` holds the identity's id, which every reset changes, and short marks of the keys that have ended, joined by dots.
// `made` is the id that a page with a person's data was made for; an anonymous page, the same for all, takes the one it finds.
(function (w, HOST, DOMAIN, made, isAnswer) {
  var CHAT = "__ca__chat", EPOCH = "__ca__epoch", MOST_ENDED = 6;
  var d = document, mine, isSilent = false;

  function values(name) { // in the browser's order: of two cookies of one name the first counts
    try {
      return d.cookie.split(/; */).filter(function (pair) { return pair.indexOf(name + "=") === 0; })
        .map(function (pair) { return pair.slice(name.length + 1); });
    } catch (e) { return []; } // a frame without an origin
  }

  function put(name, value, domain, path) {
    d.cookie = name + "=" + value + "; path=" + (path || "/") + "; SameSite=Lax" + (domain ? "; domain=" + domain : "") +
      (value ? "; max-age=31536000" : "; expires=Thu, 01 Jan 1970 00:00:00 GMT");
  }

  // Where the widget keeps its cookie (docs/usercom.md, 2 [C S3]).
  function home() {
    var host = location.hostname, labels = host.split("."), last = labels.length - 1;
    if (DOMAIN || !last || /^[\d.]+$/.test(host)) return DOMAIN;
    return labels.slice(labels[last].length === 2 && labels[last - 1].length <= 3 ? -3 : -2).join(".");
  }

  // On every domain and path that this page can see.
  function wipe(name) {
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
    put(name, value, home());
    var found = values(name);
    if (found.length === 1 && found[0] === value) return;
    wipe(name);
    put(name, value, home());
  }

  function epoch() {
    return (values(EPOCH)[0] || "").split(".");
  }

  // As visitor/cookies.py does: enough to know a key again, too little to tell what it was.
  function mark(key) {
    for (var hash = 0x811c9dc5, n = 0; n < key.length; n++) hash = Math.imul(hash ^ key.charCodeAt(n), 16777619);
    return (hash >>> 8).toString(16);
  }

  function hasEnded(key) {
    return epoch().indexOf(mark(key), 1) > 0;
  }

  // Where no cookie is kept there is nothing to compare, and nothing to mistake.
  function isOld(id) {
    var now = epoch()[0];
    return isSilent || !!now && now !== (id === undefined ? mine : id);
  }

  if (w.usercom) { // another page's body was swapped in, from the server or from the history of htmx or Turbo
    if (made !== null) w.usercom.look(made);
    return;
  }

  var waiting = [], early = [], ran = [], isPaused = false, isOwn = false, pause = 50, timer = 0;
  var turn = 0, known = {}, adopted, last, seen, real;
  var KEPT = "usercom.ran", MOST = 64, LOADED = "usercom.reload", SHOWN = "usercom.epoch";

  // An error is the page's to hear of, and no reason to leave out what comes next.
  function attempt(task) {
    try { return task(); } catch (error) { setTimeout(function () { throw error; }); }
  }

  // UE.isReady: true after the first ping's answer; no stub of ours may stand in for UE (docs/usercom.md, 1 [C S3]).
  function isReady() {
    return !isPaused && !isSilent && real && w.UE && w.UE.isReady;
  }

  // Calls of userengage(...) are kept until they can be sent, and handed over one by one: the widget's own queue stops at the
  // first failure, and sends the rest under the key of whoever comes after a reset.
  function say() {
    if (isOld()) return;
    early.push(arguments);
    check();
  }
  if (typeof w.userengage !== "function") w.userengage = say;

  // Takes the place of the widget's functions as soon as they are there.
  function adorn() {
    var UE = w.UE, hit, anew;
    if (!UE || UE === seen || typeof w.userengage !== "function" || w.userengage === say) return;
    seen = UE;
    real = w.userengage;
    w.userengage = say;
    hit = UE.pageHit;
    anew = UE.resetAuth;
    UE.pageHit = function (said) {
      if (isOld()) return;
      if (isPaused) return void ready(function () { w.UE.pageHit(said); });
      attempt(tidy);
      var key = adopted ? { userKey: adopted } : {};
      adopted = undefined;
      return hit.call(UE, Object.assign(key, fixed(said), said));
    };
    UE.resetAuth = function (said) {
      if (isOld()) return;
      if (!isOwn && said && said.apiKey) attempt(function () { renew(Math.random().toString(36).slice(2, 14), said); });
      return anew.call(UE, said);
    };
  }
  // A script's load does not bubble, but is seen on its way down: right after it has run, before anything else does.
  d.addEventListener("load", function () { attempt(adorn); }, true);

  // A parameter of the address outweighs what was said before: who the visitor is, is said again with each call.
  function fixed(said) {
    ["user_id", "email"].forEach(function (name) {
      if (said && said[name] != null) known[name] = said[name];
    });
    return Object.assign("user_id" in known || "email" in known ? { user_id: undefined, email: undefined } : {}, known);
  }

  function check() {
    clearTimeout(timer);
    if (isSilent) return;
    attempt(adorn);
    while (isReady() && early.length) attempt(function (args) { real.apply(w, args); }.bind(null, early.shift()));
    while (isReady() && waiting.length) attempt(waiting.shift().task);
    if ((waiting.length || early.length) && !isPaused) {
      timer = setTimeout(check, pause);
      pause = Math.min(pause * 1.2, 2000);
    }
  }

  // Runs a task once, when the widget can be used: for UE, which no stub may stand in for.
  function ready(task, isSaid) {
    waiting.push({ task: task, isSaid: isSaid });
    pause = 50;
    check();
  }

  // A page may be shown again from a cache, or asked for twice at a time: what it says is said once in this browser.
  function isNew(id) {
    var kept = [];
    try { kept = JSON.parse(localStorage.getItem(KEPT)) || []; } catch (e) {}
    if (ran.indexOf(id) >= 0 || kept.indexOf(id) >= 0) return false;
    ran.push(id);
    try { localStorage.setItem(KEPT, JSON.stringify(kept.concat(id).slice(-MOST))); } catch (e) {}
    return true;
  }

  // Commands are [id, name, argument, ...]; no other function can be called by them.
  function run(commands) {
    commands.forEach(function (command) {
      if (isOld() || !isNew(command[0])) return;
      var name = command[1], args = command.slice(2);
      if (name === "UE.resetAuth") return reset(command[0], args[0]);
      ready(function () {
        if (name === "userengage") w.userengage.apply(w, args);
        else if (name === "UE.pageHit") w.UE.pageHit(args[0]);
        else if (name === "UE.destroy") w.UE.destroy();
      }, true);
    });
  }

  // A page that is left at a logout must not make a new visitor: the next page does. So it is given a moment to go.
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
      if (isOld()) return;
      isOwn = true;
      attempt(function () { if (w.UE) w.UE.resetAuth(details); }); // else its first ping makes the new visitor
      isOwn = false;
      resume(200);
    }
    // What follows is said of the new visitor, whose key the widget writes down when it has it.
    function resume(tries) {
      if (tries && !values(CHAT).some(function (key) { return key && !hasEnded(key); })) {
        setTimeout(function () { resume(tries - 1); }, 50);
        return;
      }
      isPaused = false;
      check();
    }
    w.addEventListener("beforeunload", wait);
  }

  // This page ends the identity: nothing of the last one is sent from here on, nor what they were answered taken up.
  function renew(id, details) {
    attempt(tidy);
    var ended = epoch().slice(1);
    values(CHAT).concat(last || [], adopted || []).forEach(function (key) {
      if (key && ended.indexOf(mark(key)) < 0) ended.push(mark(key));
    });
    turn += 1;
    mine = id;
    early = [];
    waiting = waiting.filter(function (each) { return !each.isSaid; });
    last = adopted = undefined;
    known = {};
    fixed(details);
    keep(EPOCH, [id].concat(ended.slice(-MOST_ENDED)).join("."));
    forget(details);
    attempt(tidy);
    show();
  }

  // civchat keeps the last person through a reset (docs/usercom.md, 2 [C S3]).
  function forget(details) {
    var civchat = w.civchat || {};
    Object.keys(civchat).forEach(function (name) {
      if (!/^(apiKey|state|widget|__internal)$/.test(name) && typeof civchat[name] !== "function") delete civchat[name];
    });
    Object.assign(civchat, details);
  }

  // A key that has ended goes from wherever the widget may find it; one in the address that has not is taken up once.
  function tidy() {
    var keys = values(CHAT), live = keys.filter(function (key) { return key && !hasEnded(key); }), found = null;
    if (keys.length > 1 || live.length < keys.length) {
      wipe(CHAT);
      if (live.length) put(CHAT, live[0], home());
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

  // This page was made for somebody who is gone: nothing leaves it, and their chat goes.
  function hush() {
    if (isSilent) return;
    isSilent = true;
    early = waiting = [];
    attempt(function () { forget(); });
    attempt(function () { if (w.UE) w.UE.destroy(); });
  }

  // Once for an address and identity in some seconds: what comes again may be kept by somebody between us and the server.
  function reload() {
    try {
      var what = epoch()[0] + " " + location.href, now = Date.now();
      var before = JSON.parse(sessionStorage.getItem(LOADED)) || [];
      if (before[0] === what && Math.abs(now - before[1]) < 10000) return;
      sessionStorage.setItem(LOADED, JSON.stringify([what, now]));
    } catch (e) { return; }
    if (isAnswer) location.replace(location.href.split("#")[0]); // a form must not be sent again
    else location.reload();
  }

  function look(id) {
    attempt(function () {
      if (isOld() || isOld(id)) {
        hush();
        reload();
      } else tidy();
    });
  }

  // Somebody else's reset, while this page may be in view or on its way out: it is silent, and loads again when it is looked at.
  function listen() {
    if (isOld()) hush();
  }

  // To the other tabs: where there is no cookieStore they are told by this.
  function show() {
    var id = epoch()[0];
    try { if (id && localStorage.getItem(SHOWN) !== id) localStorage.setItem(SHOWN, id); } catch (e) {}
  }

  // All that the widget sends passes here, and what it is answered.
  var fetch = w.fetch;
  function never() {
    return new Promise(function () {});
  }
  function sends(input, init) {
    var of = turn, isPing = /chatping/.test(input && input.url || input), key = isPing && /"userKey":"(\w+)"/.exec(init && init.body);
    if (isOld()) {
      hush();
      return never();
    }
    if (key && hasEnded(key[1])) {
      attempt(tidy);
      return Promise.reject(new TypeError("the user key has ended"));
    }
    return fetch.apply(this, arguments).then(function (answer) {
      return answer.clone().json().catch(function () {}).then(function (said) {
        var named = said && said.user && said.user.key;
        if (isOld() || named && of !== turn) return never();
        if (named) attempt(function () { learn(named); });
        setTimeout(check);
        return answer;
      });
    });
  }
  // User.com names a key that has ended: the same person is back.
  function learn(key) {
    var parts = epoch(), at = parts.indexOf(mark(key), 1);
    last = key;
    if (at > 0) parts.splice(at, 1), keep(EPOCH, parts.join("."));
  }
  if (fetch) {
    w.fetch = function (input) {
      var isTheirs = false;
      try { isTheirs = String(input && input.url || input).indexOf(HOST + "/") === 0; } catch (e) {}
      return (isTheirs ? sends : fetch).apply(this, arguments);
    };
    attempt(function () { Object.defineProperty(w.fetch, "name", { value: "fetch", configurable: true }); });
  }

  // htmx makes an event of what it finds in HX-Trigger.
  w.addEventListener("usercom", function (event) {
    if (event.detail && Array.isArray(event.detail.commands)) run(event.detail.commands);
  });

  w.usercom = { ready: function (task) { ready(task); }, run: run, look: look };

  // Shown again: from memory, from another tab, or by a history that a library keeps.
  ["pageshow", "focus", "popstate", "htmx:historyRestore", "turbo:load"]
    .forEach(function (name) { w.addEventListener(name, function () { look(); }); });
  ["visibilitychange", "prerenderingchange"].forEach(function (name) {
    d.addEventListener(name, function () { if (d.visibilityState === "visible") look(); });
  });
  w.addEventListener("storage", listen);
  attempt(function () { if (w.cookieStore) w.cookieStore.addEventListener("change", listen); });

  mine = made === null ? epoch()[0] : made;
  show();
  look();
  attempt(function () {
    if (!w.civchat || isSilent) return;
    Object.assign(w.civchat, fixed(w.civchat));
    if (adopted && !w.civchat.userKey) w.civchat.userKey = adopted;
    adopted = undefined;
  });
})
