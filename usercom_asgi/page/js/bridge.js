// Bridge between the page's own requests and handlers: marks requests to the page's origin,
// and runs the commands in their responses.
//
// The mark is a media type in Accept. A header of our own would cause a CORS preflight if
// the request is redirected to another host. Accept causes none up to 128 bytes.
(function (w, TYPE, HEADER) {
  if (!w.usercom || w.usercom.bridge) return;
  w.usercom.bridge = true;

  function isSameOrigin(address) {
    try { return new URL(address, location.href).origin === location.origin; } catch (e) { return false; }
  }

  function withType(accept) {
    var both = (accept == null ? "*/*" : accept) + ", " + TYPE;
    return both.length > 128 ? accept : both;
  }

  // Keep the type of the given headers, because the page may have wrapped fetch and may read
  // them there.
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

  // Ignore other origins, because the request may have been redirected.
  function receive(address, text) {
    if (!text || !address || !isSameOrigin(address)) return;
    try { w.usercom.run(JSON.parse(text)); } catch (error) { setTimeout(function () { throw error; }); }
  }

  function nameLike(wrapper, original) {
    Object.defineProperty(wrapper, "name", { value: original.name, configurable: true });
    Object.defineProperty(wrapper, "length", { value: original.length, configurable: true });
    return wrapper;
  }

  var fetch = w.fetch;
  w.fetch = nameLike(function (input, init) {
    var isRequest = input && typeof input === "object" && typeof input.url === "string";
    if (!arguments.length || !isSameOrigin(isRequest ? input.url : input)) return fetch.apply(this, arguments);
    var options = init;
    try {
      var given = init && init.headers != null ? init.headers : isRequest ? input.headers : undefined;
      options = Object.assign({}, init, { headers: withAccept(given) });
    } catch (e) {} // let fetch() raise the error
    return fetch.call(this, input, options).then(function (response) {
      if (response && response.type === "basic") receive(response.url, response.headers.get(HEADER));
      return response;
    });
  }, fetch);

  var xhr = XMLHttpRequest.prototype, open = xhr.open, send = xhr.send, setRequestHeader = xhr.setRequestHeader;
  var accepts = new WeakMap(); // the page's Accept of each request to our origin, or null
  xhr.open = nameLike(function (method, address) {
    accepts.delete(this);
    if (isSameOrigin(address)) accepts.set(this, null);
    return open.apply(this, arguments);
  }, open);
  xhr.setRequestHeader = nameLike(function (name, value) {
    if (accepts.has(this) && /^accept$/i.test(name)) {
      var before = accepts.get(this);
      accepts.set(this, before == null ? String(value) : before + ", " + value); // as browsers do
    }
    return setRequestHeader.apply(this, arguments);
  }, setRequestHeader);
  xhr.send = nameLike(function () {
    if (accepts.has(this)) {
      var given = accepts.get(this);
      accepts.delete(this);
      try {
        if (given == null) setRequestHeader.call(this, "Accept", withType(null));
        else if (withType(given) !== given) setRequestHeader.call(this, "Accept", TYPE);
        this.addEventListener("loadend", function () {
          receive(this.responseURL, this.getResponseHeader(HEADER));
        }, { once: true });
      } catch (e) {} // let send() raise the error
    }
    return send.apply(this, arguments);
  }, send);

  // The widget sends only the first page view (docs/usercom.md, 1), so call UE.pageHit once for
  // each later navigation.
  var lastUrl = location.href, inVisit = false, pending = 0;

  function isElsewhere() {
    // Fragments with "#/" and "#!" are routes. Remove the user key, as usercom.js does.
    var path = function (href) {
      href = href.replace(/(\?|&)__ca__chat=[^&#]*&?/, "$1").replace(/[?&](#|$)/, "$1");
      return /#[/!]/.test(href) ? href : href.split("#")[0];
    };
    return path(location.href) !== path(lastUrl);
  }

  function hit() {
    lastUrl = location.href;
    clearTimeout(pending);
    // Wait until the page has set its title and the visitor's attributes.
    pending = setTimeout(function () {
      w.usercom.ready(function () {
        var attributes = {}, civchat = w.civchat || {};
        Object.keys(civchat).forEach(function (name) {
          if (name !== "userKey" && typeof civchat[name] !== "function") attributes[name] = civchat[name];
        });
        w.UE.pageHit(attributes);
      });
    }, 50);
  }

  function check() {
    if (!inVisit && isElsewhere()) hit();
  }

  // htmx and the routers of single-page applications use these.
  ["pushState", "replaceState"].forEach(function (name) {
    var original = history[name];
    history[name] = nameLike(function () {
      var result = original.apply(this, arguments);
      check();
      return result;
    }, original);
  });
  w.addEventListener("popstate", check);
  w.addEventListener("hashchange", check);
  // Turbo fires turbo:visit right after its pushState, and turbo:load when the page is lastUrl.
  // The new page may have the same address.
  w.addEventListener("turbo:visit", function () {
    inVisit = true;
    clearTimeout(pending);
  });
  w.addEventListener("turbo:load", function () {
    if (inVisit) hit();
    inVisit = false;
  });
})
