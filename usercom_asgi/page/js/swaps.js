// Keeps the chat where the body is swapped (Turbo, htmx, Unpoly, morphing), because widget.js
// does not start twice in a document: it would be gone until the next page load.
(function (w) {
  if (!w.usercom || w.usercom.keepsChat) return;
  w.usercom.keepsChat = true;
  var d = document, PARTS = ["__ue_widget_mount", "usercom-widget"];
  // Turbolinks' own events, for which the widget removes itself (docs/usercom.md, 1 [C S3]).
  var LEAVING = ["turbolinks:visit", "page:before-change", "turbolinks:before-cache", "turbolinks:load", "page:change"];
  var parts = {}, seen, isGone = false, second = 0, rounds = 0, later = 0;

  function drop() {
    parts = {};
    isGone = true;
  }

  function adopt(UE) {
    var destroy = UE.destroy;
    seen = UE;
    parts = {};
    isGone = false;
    UE.destroy = function () {
      drop();
      return destroy.apply(this, arguments);
    };
  }

  // A script of the page may remove the chat each time: answer it ten times a second at most.
  function mayMove() {
    var now = Math.floor(Date.now() / 1000);
    if (now !== second) {
      second = now;
      rounds = 0;
    }
    if (rounds++ < 10) return true;
    later = later || setTimeout(function () {
      later = 0;
      keep([]);
    }, 1000);
    return false;
  }

  // What the widget makes comes alone, and a copy that a library puts in with other nodes.
  function take(records) {
    var added = [];
    records.forEach(function (record) { added.push.apply(added, record.addedNodes); });
    if (added.some(function (node) { return PARTS.indexOf(node.id) < 0; })) return;
    added.forEach(function (node) { parts[node.id] = node; });
  }

  function keep(records) {
    if (!d.body || !w.UE || !w.UE.pageHit) return;
    if (w.UE !== seen) adopt(w.UE);
    if (!isGone) take(records);
    PARTS.forEach(function (id) {
      d.querySelectorAll("body > [id='" + id + "']").forEach(function (each) {
        if (!isGone && !parts[id]) parts[id] = each;
        // A copy from the library's history is dead, and may show what an earlier visitor wrote.
        else if (each !== parts[id]) each.remove();
      });
    });
    var lost = PARTS.filter(function (id) { return parts[id] && !d.body.contains(parts[id]); });
    if (lost.length && mayMove()) lost.forEach(function (id) { d.body.appendChild(parts[id]); });
  }

  var observer = new MutationObserver(function (records) {
    try {
      watch();
      keep(records);
    } catch (error) { setTimeout(function () { throw error; }); }
  });
  function watch() {
    [d, d.documentElement, d.body].forEach(function (each) {
      if (each) observer.observe(each, { childList: true });
    });
  }
  // Turbo marks the pages that it fetches since version 8, so that the server knows who runs
  // the scripts of its response.
  d.addEventListener("turbo:before-fetch-request", function (event) {
    var options = event.detail && event.detail.fetchOptions, headers = options && options.headers;
    if (!headers || headers["Turbo-Frame"] || headers["X-Turbo-Request-Id"]) return;
    headers["X-Turbo-Request-Id"] = Math.random().toString(36).slice(2);
  });
  LEAVING.forEach(function (name) { d.addEventListener(name, drop); });
  watch();
})
