"""A response's Content-Security-Policy, as far as it concerns the widget: nonces, and sources that are missing.

What the widget loads is inferred from the vendor's bundle of 2022-05 (docs/usercom.md, 1 [I]): ``widget.js`` from the
workspace's own host, its parts from ``widget.user.com``, and a ping and a WebSocket to the workspace's host.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from .headers import ENFORCED, POLICIES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .headers import HeaderList

_A_NONCE = re.compile(r"[A-Za-z0-9+/_-]+={0,2}")
_NONCE = re.compile(r"'nonce-([A-Za-z0-9+/_=-]+)'", re.IGNORECASE)
#: Where the parts of the vendor's widget come from.
_PARTS = "https://widget.user.com"
# What comes from the workspace's own host.
_LOADER = "/widget.js"
# The directive that decides, and those that stand in for it where it is missing (CSP3, 6.8.3).
_SCRIPTS = ("script-src-elem", "script-src", "default-src")
_CONNECTIONS = ("connect-src", "default-src")


@dataclass(frozen=True, slots=True)
class CspSources:
    """What a policy has to allow: origins of scripts, and of connections."""

    scripts: tuple[str, ...]
    connections: tuple[str, ...]

    @classmethod
    def of(cls, origin: str) -> CspSources:
        """Return what a widget needs that comes from this origin."""
        own_parts = urlsplit(origin).hostname or ""
        socket = origin.replace("http", "ws", 1)
        scripts = (origin, _PARTS) if own_parts.endswith(".user.com") else (origin,)
        return cls(scripts, (origin, socket))


class Policy:
    """One policy: directives by name, in their order; of two with one name the first counts."""

    def __init__(self, text: str) -> None:
        self.directives: dict[str, list[str]] = {}
        for part in text.split(";"):
            name, *sources = part.split() or [""]
            if name and name.lower() not in self.directives:
                self.directives[name.lower()] = sources

    def __str__(self) -> str:
        return "; ".join(" ".join((name, *sources)) for name, sources in self.directives.items())

    def decides(self, names: Iterable[str]) -> str | None:
        """Return which of these directives decides; None if none does, then everything is allowed."""
        return next((name for name in names if name in self.directives), None)

    def nonces(self) -> list[str]:
        """Return the nonces that scripts may bear."""
        name = self.decides(_SCRIPTS)
        return _NONCE.findall(" ".join(self.directives[name])) if name else []

    def missing(self, needs: CspSources, nonce: str | None) -> dict[str, list[str]]:
        """Return what is missing, by directive: sources, and ``'nonce'`` for the script that stands in the page."""
        found: dict[str, list[str]] = {}
        scripts, connections = self.decides(_SCRIPTS), self.decides(_CONNECTIONS)
        if scripts is not None:
            sources = self.directives[scripts]
            trusts = "'strict-dynamic'" in _lower(sources)
            bears = nonce is not None and nonce in self.nonces()
            if not bears and not _allows_inline(sources):
                found[scripts] = ["'nonce'"]
            if not (bears and trusts):
                lacks = [
                    each
                    for each in needs.scripts
                    if trusts or not _allows(sources, each, "" if each == _PARTS else _LOADER)
                ]
                if trusts:
                    found.setdefault(scripts, ["'nonce'"])
                elif lacks:
                    found[scripts] = [*found.get(scripts, []), *lacks]
        if connections is not None:
            lacks = [
                each
                for each in needs.connections
                if not _allows(self.directives[connections], each)
            ]
            if lacks:
                found[connections] = [*found.get(connections, []), *lacks]
        return found

    def extend(self, needs: CspSources, nonce: str) -> None:
        """Add what is missing, and nothing else."""
        for names, wanted in (
            (_SCRIPTS, {*needs.scripts, "'nonce'"}),
            (_CONNECTIONS, {*needs.connections}),
        ):
            name = self.decides(names)
            lacks = [
                each for each in self.missing(needs, nonce).get(name or "", []) if each in wanted
            ]
            if name is None or not lacks:
                continue
            added = [
                f"'nonce-{nonce}'" if each == "'nonce'" else each for each in dict.fromkeys(lacks)
            ]
            kept = [each for each in self.directives[name] if each.lower() != "'none'"]
            # What default-src says is said of everything else as well: that stays as it is.
            self.directives[names[-2] if name == "default-src" else name] = [*kept, *added]


def admit(
    headers: HeaderList, needs: CspSources, nonce: str | None, *, extend: bool
) -> tuple[HeaderList, str | None, list[str]]:
    """Return a response's headers, the nonce for our tags, and what would keep the widget out all the same.

    Without a ``nonce`` of the application's own the one that the policies take is used. ``extend`` adds what is missing to
    them, and a nonce of ours if there is none.
    """
    given = policies(headers)
    if not given:
        return headers, nonce, []
    nonce = nonce or find_nonce(given)
    if extend and any(policy.missing(needs, nonce) for policy, _ in given):
        nonce = nonce or secrets.token_urlsafe(16)
        return extended(headers, needs, nonce), nonce, []
    blocked = [
        f"{name} lacks {' '.join(sources)}"
        for policy, is_enforced in given
        if is_enforced
        for name, sources in policy.missing(needs, nonce).items()
    ]
    return headers, nonce, blocked


def is_nonce(value: object) -> bool:
    """Tell whether this can stand in a policy as a nonce (CSP3, 2.3.1)."""
    return isinstance(value, str) and _A_NONCE.fullmatch(value) is not None


def policies(headers: HeaderList) -> list[tuple[Policy, bool]]:
    """Return a response's policies, and whether each is enforced."""
    return [
        (Policy(text), name.lower() == ENFORCED)
        for name, value in headers
        if name.lower() in POLICIES
        for text in value.decode("latin-1").split(",")
        if text.strip()
    ]


def find_nonce(given: list[tuple[Policy, bool]]) -> str | None:
    """Return the nonce that most of the policies take, those that are enforced first."""
    ranked = [
        nonce
        for policy, _ in sorted(given, key=lambda each: not each[1])
        for nonce in policy.nonces()
    ]
    return max(ranked, key=ranked.count) if ranked else None


def extended(headers: HeaderList, needs: CspSources, nonce: str) -> HeaderList:
    """Return headers whose policies let the widget in, and whose other policies are as they were."""
    changed: HeaderList = []
    for name, value in headers:
        if name.lower() in POLICIES:
            texts = value.decode("latin-1").split(",")
            value = ", ".join(_extended(text, needs, nonce) for text in texts).encode("latin-1")
        changed.append((name, value))
    return changed


def _extended(text: str, needs: CspSources, nonce: str) -> str:
    policy = Policy(text)
    if not policy.missing(needs, nonce):
        return text.strip()
    policy.extend(needs, nonce)
    return str(policy)


def _lower(sources: list[str]) -> list[str]:
    return [each.lower() for each in sources]


def _allows_inline(sources: list[str]) -> bool:
    """'unsafe-inline' counts only where there is neither a nonce, nor a hash, nor 'strict-dynamic' (CSP3, 6.7.3.2)."""
    given = _lower(sources)
    strict = any(
        each.startswith(("'nonce-", "'sha")) or each == "'strict-dynamic'" for each in given
    )
    return "'unsafe-inline'" in given and not strict


def _allows(sources: list[str], origin: str, path: str = "") -> bool:
    return any(_matches(each, origin, path) for each in sources if not each.startswith("'"))


@lru_cache(256)
def _matches(source: str, origin: str, loaded: str) -> bool:
    """Tell whether a source that is no keyword allows what is ``loaded`` from an origin: a path, or whatever there is.

    A site's policies name the same ones at every response.
    """
    source, wanted = source.lower(), urlsplit(origin)
    scheme, host, port = wanted.scheme, wanted.hostname or "", wanted.port
    if source == "*":
        return scheme in ("http", "https", "ws", "wss")
    if source.endswith(":"):
        return source[:-1] == scheme or (source[:-1], scheme) in _UPGRADES
    given, _, rest = source.rpartition("://")
    if given and given != scheme and (given, scheme) not in _UPGRADES:
        return False
    place, _, path = rest.partition("/")
    name, _, number = place.partition(":")
    if path.strip("/") and f"/{path}" != loaded:
        return False
    fits = host.endswith(name[1:]) if name.startswith("*.") else name in (host, "*")
    default = {"https": 443, "wss": 443, "http": 80, "ws": 80}[scheme]
    return fits and number in (
        "*",
        str(port or default),
        *([""] if port in (None, default) else []),
    )


_UPGRADES = {("http", "https"), ("ws", "wss"), ("http", "ws"), ("http", "wss"), ("https", "wss")}
