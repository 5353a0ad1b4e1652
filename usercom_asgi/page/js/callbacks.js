// Look up each callback when it is called, because the page may define its functions later.
(function (civchat, paths) {
  Object.keys(paths).forEach(function (name) {
    civchat[name] = function () {
      var owner, found = window;
      paths[name].split(".").forEach(function (step) {
        owner = found;
        found = found == null ? found : found[step];
      });
      if (typeof found === "function") return found.apply(owner, arguments);
    };
  });
})
