"""A response's Content-Security-Policy: its nonce, and the sources the widget needs.

What the widget loads is inferred from the vendor's bundle of 2022-05 (docs/usercom.md,
1 [I]): ``widget.js`` from the workspace's own host, its parts from ``widget.user.com``,
and a ping and a WebSocket to the workspace's host. The widget was run under policies
(docs/usercom.md, 1 [C S3]): its ``<style>`` elements have no nonce, and it does not
start where Trusted Types are required.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from ..core.log import warn_once
from .headers import ENFORCED, POLICIES
from .preamble import meta_policies
from .snippet import nonce_of, with_nonce

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .headers import HeaderList

_VALID_NONCE = re.compile(r"[A-Za-z0-9+/_-]+={0,2}")
_NONCE_SOURCE = re.compile(r"'nonce-([A-Za-z0-9+/_=-]+)'", re.IGNORECASE)
# The nonce differs in each response, so messages show a placeholder.
_NONCE = "'nonce-...'"
# With one of these, 'unsafe-inline' does not count (CSP3, 6.7.3.2).
_SWITCH_OFF = ("'nonce-", "'sha")
_WIDGET_PARTS = "https://widget.user.com"
_WIDGET_PATH = "/widget.js"
# The directive that decides, then its fallbacks (CSP3, 6.8.3).
_SCRIPTS = ("script-src-elem", "script-src", "default-src")
_CONNECTIONS = ("connect-src", "default-src")
_STYLES = ("style-src-elem", "style-src", "default-src")


class CspSources(NamedTuple):
    """The origins that a policy has to allow, for scripts and for connections."""

    scripts: tuple[str, ...]
    connections: tuple[str, ...]

    @classmethod
    def for_origin(cls, origin: str) -> CspSources:
        """Return the sources of a widget that is loaded from this origin."""
        host = urlsplit(origin).hostname or ""
        socket = origin.replace("http", "ws", 1)
        scripts = (origin, _WIDGET_PARTS) if host.endswith(".user.com") else (origin,)
        return cls(scripts, (origin, socket))


class Policy:
    """The directives of one policy by name; the first of two with one name counts."""

    def __init__(self, text: str) -> None:
        self.directives: dict[str, list[str]] = {}
        for part in text.split(";"):
            name, *sources = part.split() or [""]
            if name and name.lower() not in self.directives:
                self.directives[name.lower()] = sources

    def effective_directive(self, names: Iterable[str]) -> str | None:
        """Return the first of these directives that is set; None allows everything."""
        return next((name for name in names if name in self.directives), None)

    def nonces(self) -> list[str]:
        """Return the nonces that the policy accepts for scripts."""
        name = self.effective_directive(_SCRIPTS)
        return _NONCE_SOURCE.findall(" ".join(self.directives[name])) if name else []

    def missing_sources(self, needed: CspSources, nonce: str | None) -> dict[str, list[str]]:
        """Return the sources to add, by the directive that they have to be added to.

        Where ``default-src`` decides, that is ``script-src`` or ``connect-src``, which
        the policy does not have yet: ``default-src`` also covers images and styles.
        """
        found: dict[str, list[str]] = {}
        scripts = self.effective_directive(_SCRIPTS)
        if scripts is not None and (missing := self._missing_scripts(scripts, needed, nonce)):
            found["script-src" if scripts == "default-src" else scripts] = missing
        connections = self.effective_directive(_CONNECTIONS)
        if connections is not None:
            sources = self.directives[connections]
            if missing := [each for each in needed.connections if not _allows(sources, each)]:
                found["connect-src"] = missing
        return found

    def _missing_scripts(self, name: str, needed: CspSources, nonce: str | None) -> list[str]:
        sources = self.directives[name]
        has_nonce = nonce is not None and nonce in self.nonces()
        if "'strict-dynamic'" in _lower(sources):  # hosts are ignored then (CSP3, 8.2)
            return [] if has_nonce else [_NONCE]
        missing = [] if has_nonce or _allows_inline(sources) else [_NONCE]
        hosts = [
            origin
            for origin in needed.scripts
            if not _allows(sources, origin, "" if origin == _WIDGET_PARTS else _WIDGET_PATH)
        ]
        return [*missing, *hosts]

    def advice(self, needed: CspSources, nonce: str | None) -> str | None:
        """Return what to add to the policy, word for word; None if nothing is missing.

        The text names no value that differs between responses, such as a nonce or a
        hash, so a warning with it is logged once.
        """
        texts: list[str] = []
        for name, missing in self.missing_sources(needed, nonce).items():
            sources = " ".join(missing)
            if name in self.directives:
                texts.append(f'add "{sources}" to {name}')
            else:
                texts.append(
                    f'add the directive "{name} {sources}" with the sources of default-src'
                )
        if "allow-scripts" not in _lower(self.directives.get("sandbox", ["allow-scripts"])):
            texts.append('add "allow-scripts" to sandbox')
        texts += self._style_advice() + self._trusted_types_advice()
        return " and ".join(texts) or None

    def _style_advice(self) -> list[str]:
        name = self.effective_directive(_STYLES)
        if name is None or _allows_inline_styles(self.directives[name]):
            return []
        inline = "'unsafe-inline'"
        if any(each.startswith(_SWITCH_OFF) for each in _lower(self.directives[name])):
            # These switch 'unsafe-inline' off. Other elements may still need them.
            text = f'set style-src-elem with "{inline}" and without nonces and hashes'
        elif name == "default-src":
            text = f'add the directive "style-src {inline}" with the sources of default-src'
        else:
            text = f'add "{inline}" to {name}'
        return [f"{text} (for the widget's <style> elements)"]

    def _trusted_types_advice(self) -> list[str]:
        if "'script'" not in _lower(self.directives.get("require-trusted-types-for", [])):
            return []
        text = "remove require-trusted-types-for, under which widget.js does not start"
        return [f"{text} unless the page has a default policy"]


def check_csp(
    headers: HeaderList, needed: CspSources, nonce: str | None
) -> tuple[str | None, list[str]]:
    """Return the nonce for the script tags, and advice on each policy that blocks them.

    The application's own ``nonce`` wins over the one that the policies name. Policies
    that are only reported block nothing, so there is no advice on them.
    """
    policies = parse_policies(headers)
    nonce = nonce or find_nonce(policies)
    advice = [policy.advice(needed, nonce) for policy, is_enforced in policies if is_enforced]
    return nonce, [text for text in advice if text is not None]


def fit_snippet(snippet: bytes, head: bytes, needed: CspSources | None) -> bytes:
    """Return the snippet with the nonce of the policies in the page's own ``<meta>`` tags.

    What these policies block is logged once. A nonce of the snippet stays.
    """
    texts = meta_policies(head)
    if not texts:
        return snippet
    policies = [Policy(text) for text in texts]
    given = nonce_of(snippet)
    nonce = given or find_nonce([(policy, True) for policy in policies])
    for policy in policies:
        policy.directives.pop("sandbox", None)  # ignored in a <meta> (CSP3, 3.3)
        advice = None if needed is None else policy.advice(needed, nonce)
        if advice is not None:
            warn_once(
                "csp_blocks_widget",
                f"Content-Security-Policy in a <meta> of the page blocks the widget: {advice}",
            )
    return with_nonce(snippet, nonce) if nonce and not given else snippet


def warn_of_embedder_policy(value: bytes) -> None:
    """Log once that a Cross-Origin-Embedder-Policy may keep ``widget.js`` from loading."""
    if value.strip().lower().startswith(b"require-corp"):
        warn_once(
            "coep_blocks_widget",
            "Cross-Origin-Embedder-Policy: require-corp blocks the widget, unless widget.js comes "
            "with Cross-Origin-Resource-Policy: set credentialless instead",
        )


def is_nonce(value: object) -> bool:
    """Return True if a policy can name this value as a nonce (CSP3, 2.3.1)."""
    return isinstance(value, str) and _VALID_NONCE.fullmatch(value) is not None


def parse_policies(headers: HeaderList) -> list[tuple[Policy, bool]]:
    """Return a response's policies, each with True if it is enforced."""
    return [
        (Policy(text), name.lower() == ENFORCED)
        for name, value in headers
        if name.lower() in POLICIES
        for text in value.decode("latin-1").split(",")
        if text.strip()
    ]


def find_nonce(policies: list[tuple[Policy, bool]]) -> str | None:
    """Return the nonce that most policies accept; enforced policies win a tie."""
    ranked = [
        nonce
        for policy, _ in sorted(policies, key=lambda each: not each[1])
        for nonce in policy.nonces()
    ]
    return max(ranked, key=ranked.count) if ranked else None


def _lower(sources: list[str]) -> list[str]:
    return [each.lower() for each in sources]


def _allows_inline(sources: list[str]) -> bool:
    """Return True if ``'unsafe-inline'`` counts.

    A nonce, a hash or ``'strict-dynamic'`` switches it off (CSP3, 6.7.3.2).
    """
    given = _lower(sources)
    is_strict = any(each.startswith(_SWITCH_OFF) or each == "'strict-dynamic'" for each in given)
    return "'unsafe-inline'" in given and not is_strict


def _allows_inline_styles(sources: list[str]) -> bool:
    given = _lower(sources)
    return "'unsafe-inline'" in given and not any(each.startswith(_SWITCH_OFF) for each in given)


def _allows(sources: list[str], origin: str, path: str = "") -> bool:
    return any(_matches(each, origin, path) for each in sources if not each.startswith("'"))


@lru_cache(256)  # a site's policies name the same sources in each response
def _matches(source: str, origin: str, loaded_path: str) -> bool:
    """Return True if a host or scheme source allows a path of an origin.

    An empty ``loaded_path`` stands for any path.
    """
    source, wanted = source.lower(), urlsplit(origin)
    scheme, host, port = wanted.scheme, wanted.hostname or "", wanted.port
    if source == "*":
        return scheme in ("http", "https", "ws", "wss")
    if source.endswith(":"):
        return source[:-1] == scheme or (source[:-1], scheme) in _UPGRADES
    given, _, rest = source.rpartition("://")
    given = given or "http"  # that of the page, which is never a WebSocket's
    if given != scheme and (given, scheme) not in _UPGRADES:
        return False
    place, _, path = rest.partition("/")
    name, _, number = place.partition(":")
    if path.strip("/") and f"/{path}" != loaded_path:
        return False
    fits = host.endswith(name[1:]) if name.startswith("*.") else name in (host, "*")
    default = {"https": 443, "wss": 443, "http": 80, "ws": 80}[scheme]
    return fits and number in (
        "*",
        str(port or default),
        *([""] if port in (None, default) else []),
    )


# A source for https does not cover wss, in the specification and in Chromium.
_UPGRADES = {("http", "https"), ("ws", "wss")}
