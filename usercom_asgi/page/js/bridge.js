// Tells the server that a script of this page asks, and hears what a handler says to the page in its answer.
//
// It asks by a media type in Accept, since any header of our own would make the browser ask another host for its leave
// (a CORS preflight) where a request of the page's is redirected there. Up to 128 bytes pass without.
(function (w, TYPE, SAYS) {
  if (!w.usercom || w.usercom.bridge) return;
  w.usercom.bridge = true;

  function isOurs(address) {
    try { return new URL(address, location.href).origin === location.origin; } catch (e) { return false; }
  }

  function withType(accept) {
    var both = (accept == null ? "*/*" : accept) + ", " + TYPE;
    return both.length > 128 ? accept : both;
  }

  // In the form in which the page gives them: it may have wrapped fetch before us, and read them there.
  function withAccept(given) {
    var accept = withType(new Headers(given || {}).get("Accept"));
    function isOther(name) { return !/^accept$/i.test(name); }
    if (accept == null) return given;
    if (Array.isArray(given)) {
      return given.filter(function (pair) { return isOther(pair[0]); }).concat([["Accept", accept]]);
    }
    if (given && typeof given.append === "function") {
      var headers = new Headers(given);
      headers.set("Accept", accept);
      return headers;
    }
    var copy = {};
    Object.keys(given || {}).filter(isOther).forEach(function (name) { copy[name] = given[name]; });
    copy.Accept = accept;
    return copy;
  }

  // Only from our own host: a request may have been redirected to another one.
  function hear(address, text) {
    if (!text || !address || !isOurs(address)) return;
    try { w.usercom.run(JSON.parse(text)); } catch (error) { setTimeout(function () { throw error; }); }
  }

  function named(wrapper, original) {
    Object.defineProperty(wrapper, "name", { value: original.name, configurable: true });
    Object.defineProperty(wrapper, "length", { value: original.length, configurable: true });
    return wrapper;
  }

  var fetch = w.fetch;
  w.fetch = named(function (input, init) {
    var isRequest = input && typeof input === "object" && typeof input.url === "string";
    if (!arguments.length || !isOurs(isRequest ? input.url : input)) return fetch.apply(this, arguments);
    var with_ = init;
    try {
      var given = init && init.headers != null ? init.headers : isRequest ? input.headers : undefined;
      with_ = Object.assign({}, init, { headers: withAccept(given) });
    } catch (e) {} // let it tell what is wrong
    return fetch.call(this, input, with_).then(function (response) {
      if (response && response.type === "basic") hear(response.url, response.headers.get(SAYS));
      return response;
    });
  }, fetch);

  var xhr = XMLHttpRequest.prototype, open = xhr.open, send = xhr.send, setRequestHeader = xhr.setRequestHeader;
  var accepts = new WeakMap(); // of each request that is ours: the Accept that the page has given it, or null
  xhr.open = named(function (method, address) {
    accepts.delete(this);
    if (isOurs(address)) accepts.set(this, null);
    return open.apply(this, arguments);
  }, open);
  xhr.setRequestHeader = named(function (name, value) {
    if (accepts.has(this) && /^accept$/i.test(name)) {
      var before = accepts.get(this);
      accepts.set(this, before == null ? String(value) : before + ", " + value); // as the browser joins them
    }
    return setRequestHeader.apply(this, arguments);
  }, setRequestHeader);
  xhr.send = named(function () {
    if (accepts.has(this)) {
      var given = accepts.get(this);
      accepts.delete(this);
      try {
        if (given == null) setRequestHeader.call(this, "Accept", withType(null));
        else if (withType(given) !== given) setRequestHeader.call(this, "Accept", TYPE);
        this.addEventListener("loadend", function () {
          hear(this.responseURL, this.getResponseHeader(SAYS));
        }, { once: true });
      } catch (e) {} // let send() tell what is wrong
    }
    return send.apply(this, arguments);
  }, send);

  // The widget sees the page's first view by itself, and none after it (docs/usercom.md, 1): UE.pageHit, once a navigation.
  var shown = location.href, inVisit = false, pending = 0;

  function isElsewhere() {
    var path = function (href) { // "#/" and "#!" are routes; a user key is no part of the address (usercom.js takes it out)
      href = href.replace(/(\?|&)__ca__chat=[^&#]*&?/, "$1").replace(/[?&](#|$)/, "$1");
      return /#[/!]/.test(href) ? href : href.split("#")[0];
    };
    return path(location.href) !== path(shown);
  }

  function hit() {
    shown = location.href;
    clearTimeout(pending);
    pending = setTimeout(function () { // the page may set its title first, and say who the visitor is
      w.usercom.ready(function () {
        var said = {}, civchat = w.civchat || {};
        Object.keys(civchat).forEach(function (name) {
          if (name !== "userKey" && typeof civchat[name] !== "function") said[name] = civchat[name];
        });
        w.UE.pageHit(said);
      });
    }, 50);
  }

  function look() {
    if (!inVisit && isElsewhere()) hit();
  }

  ["pushState", "replaceState"].forEach(function (name) { // htmx and the routers of single-page applications use them
    var original = history[name];
    history[name] = named(function () {
      var result = original.apply(this, arguments);
      look();
      return result;
    }, original);
  });
  w.addEventListener("popstate", look);
  w.addEventListener("hashchange", look);
  // Turbo tells when a visit begins, right after its pushState, and when its page is there, which may be one of the same address.
  w.addEventListener("turbo:visit", function () {
    inVisit = true;
    clearTimeout(pending);
  });
  w.addEventListener("turbo:load", function () {
    if (inVisit) hit();
    inVisit = false;
  });
})
