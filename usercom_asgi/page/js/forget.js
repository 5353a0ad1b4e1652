// Removes an old user key before widget.js runs (docs/reset.md), because the widget
// prefers a legacy localStorage entry and reads the cookie of any domain. `key` is the new
// visitor's key, or "" if the widget creates one. `homes` are the domains that the cookie
// may be set for, its own first.
(function (key, homes) {
  try { localStorage.removeItem("__ca__chat"); } catch (e) {}
  var found = document.cookie.match(/(?:^|;\s*)__ca__chat=([^;]*)/);
  if (!found || found[1] === key) return;
  homes.forEach(function (home) {
    document.cookie = "__ca__chat=; path=/; expires=Thu, 01 Jan 1970 00:00:00 GMT" + (home ? "; domain=" + home : "");
  });
  if (key) {
    document.cookie = "__ca__chat=" + key + "; path=/; max-age=31536000; SameSite=Lax" + (homes[0] ? "; domain=" + homes[0] : "");
  }
})
