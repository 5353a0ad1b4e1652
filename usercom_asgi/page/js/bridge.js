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
    var both = (accept || "*/*") + ", " + TYPE;
    return both.length > 128 ? accept : both;
  }

  function hear(text) {
    if (!text) return;
    try { w.usercom.run(JSON.parse(text)); } catch (error) { setTimeout(function () { throw error; }); }
  }

  var fetch = w.fetch;
  w.fetch = function (input, init) {
    if (!isOurs(input instanceof Request ? input.url : input)) return fetch.apply(this, arguments);
    var request;
    try {
      request = new Request(input, init);
      request.headers.set("Accept", withType(request.headers.get("Accept")));
    } catch (e) {
      return fetch.apply(this, arguments); // let it tell what is wrong
    }
    return fetch.call(this, request).then(function (response) {
      hear(response.headers.get(SAYS));
      return response;
    });
  };

  var xhr = XMLHttpRequest.prototype, open = xhr.open, send = xhr.send, setRequestHeader = xhr.setRequestHeader;
  var accepts = new WeakMap(); // of each request that is ours: the Accept that the page has given it
  xhr.open = function (method, address) {
    accepts.delete(this);
    if (isOurs(address)) accepts.set(this, "");
    return open.apply(this, arguments);
  };
  xhr.setRequestHeader = function (name, value) {
    if (accepts.has(this) && /^accept$/i.test(name)) accepts.set(this, value);
    return setRequestHeader.apply(this, arguments);
  };
  xhr.send = function () {
    if (accepts.has(this)) {
      // A header that is set twice is joined.
      setRequestHeader.call(this, "Accept", accepts.get(this) ? TYPE : withType());
      this.addEventListener("load", function () { hear(this.getResponseHeader(SAYS)); }, { once: true });
    }
    return send.apply(this, arguments);
  };
})
