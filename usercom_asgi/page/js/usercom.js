// What a page says to its widget on behalf of the server, when the widget is there: window.usercom.
(function (w) {
  if (w.usercom) return;
  var waiting = [], ran = [], paused = false, pause = 50, timer = 0;
  var KEPT = "usercom.ran", MOST = 64;

  // UE.isReady: true after the first ping's answer; no stub of ours may stand in for UE (docs/usercom.md, 1 [C S3]).
  function isReady() {
    return !paused && w.UE && w.UE.isReady;
  }

  // Calls of userengage(...) that come before the widget does are kept, and handed over in order as soon as it is there;
  // it keeps them itself until it has a user key. No site has to poll for it then.
  var early = [];
  function stub() {
    early.push(arguments);
  }
  if (typeof w.userengage !== "function") w.userengage = stub;

  function handOver() {
    if (w.userengage === stub || typeof w.userengage !== "function") return;
    while (early.length) attempt(function (args) { w.userengage.apply(w, args); }.bind(null, early.shift()));
  }
  // A script's load does not bubble, but is seen on its way down: right after it has run, before anything else does.
  document.addEventListener("load", handOver, true);

  function check() {
    clearTimeout(timer);
    if (early.length) handOver();
    while (waiting.length && isReady()) attempt(waiting.shift());
    if ((waiting.length || early.length) && !paused) {
      timer = setTimeout(check, pause);
      pause = Math.min(pause * 1.2, 2000);
    }
  }

  // An error is the page's to hear of, and no reason to leave out what comes next.
  function attempt(task) {
    try { task(); } catch (error) { setTimeout(function () { throw error; }); }
  }

  // Runs a task once, when the widget can be used: for UE, which no stub may stand in for.
  function ready(task) {
    waiting.push(task);
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
      if (!isNew(command[0])) return;
      var name = command[1], args = command.slice(2);
      ready(function () {
        if (name === "userengage") w.userengage.apply(w, args);
        else if (name === "UE.pageHit") w.UE.pageHit(args[0]);
        else if (name === "UE.destroy") w.UE.destroy();
        else if (name === "UE.resetAuth") reset(args[0]);
      });
    });
  }

  // A page that is left at a logout must not make a new visitor: the next page does. So it is given a moment to go.
  function reset(details) {
    var moment = setTimeout(go, 300);
    paused = true;
    function wait() {
      clearTimeout(moment);
      moment = setTimeout(go, 5000);
    }
    function go() {
      w.removeEventListener("beforeunload", wait);
      attempt(forget);
      attempt(function () { if (w.UE) w.UE.resetAuth(details); });
      resume(200);
    }
    // What follows is said of the new visitor, whose key the widget writes down when it has it.
    function resume(tries) {
      if (tries && !/(?:^|;\s*)__ca__chat=./.test(document.cookie)) {
        setTimeout(function () { resume(tries - 1); }, 50);
        return;
      }
      paused = false;
      check();
    }
    w.addEventListener("beforeunload", wait);
  }

  // The ping of a reset takes up an old key that it finds in localStorage or in the address (docs/usercom.md, 2 [C S3]).
  function forget() {
    try { localStorage.removeItem("__ca__chat"); } catch (e) {}
    var address = new URL(location.href);
    if (!address.searchParams.has("__ca__chat")) return;
    address.searchParams.delete("__ca__chat");
    history.replaceState(history.state, "", address.href);
  }

  // htmx makes an event of what it finds in HX-Trigger.
  w.addEventListener("usercom", function (event) {
    if (event.detail && Array.isArray(event.detail.commands)) run(event.detail.commands);
  });

  w.usercom = { ready: ready, run: run };
})
