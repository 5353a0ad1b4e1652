"""The cookies that say who a browser is: ``__ca__chat``, and the marker that a reset leaves behind.

Everything that comes in a cookie is a stranger's word: it is matched against a pattern or treated as absent.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ..core.user_key import ResetMarker
from ..core.user_key import COOKIE

#: Ours, after a reset: ``<digest of the old key>.<the reset's token>.<when, seconds since the epoch>``.
MARKER = "__ca__reset"
#: Ours, and for the page's scripts as well: which identity the browser has, and short marks of keys that have ended.
EPOCH = "__ca__epoch"
#: The widget renews its cookie for 365 days at every ping (vendor's bundle of 2022-05 [C S3]).
MAX_AGE = 365 * 24 * 3600

_EPOCH = re.compile(r"([0-9A-Za-z_-]{0,32})((?:\.[0-9a-f]{1,6}){0,8})")
_MOST_ENDED = 6
_HOST = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*")
_MOST_HOMES = 8
_PATH = re.compile(r"[A-Za-z0-9/._~!$&'()*+,=:@%-]{1,256}")
_MOST_STEPS = 3
_IPV4 = re.compile(r"[0-9]+(?:\.[0-9]+){3}")


def read_cookies(headers: Iterable[tuple[bytes, bytes]], *names: str) -> dict[str, list[str]]:
    """Read some cookies of a request, whatever else the ``cookie`` headers hold; there may be several of those (HTTP/2).

    Of two cookies of one name the first counts: browsers send the one of the more specific path first (RFC 6265, 5.4).
    The others are returned as well, since two of one name have to become one.
    """
    found: dict[str, list[str]] = {}
    for header, value in headers:
        if header.lower() != b"cookie":
            continue
        for pair in value.decode("latin-1").split(";"):
            name, _, content = pair.partition("=")
            name = name.strip()
            if name in names:
                found.setdefault(name, []).append(content.strip())
    return found


@dataclass(frozen=True, slots=True, repr=False)
class Epoch:
    """What the epoch cookie says: which identity the browser has, and which keys must not come back to it.

    Every reset changes ``id``. It is no secret, and neither are the marks of the ended keys, the newest last: the page's
    scripts read both.
    """

    NONE: ClassVar[Epoch]

    id: str = ""
    ended: tuple[str, ...] = ()

    @classmethod
    def parse(cls, value: str | None) -> Epoch:
        """Read the cookie's value; anything else than ours is as good as none."""
        match = _EPOCH.fullmatch(value) if value else None
        return cls(match[1], tuple(filter(None, match[2].split(".")))) if match else cls.NONE

    def __str__(self) -> str:
        return ".".join([self.id, *self.ended])

    def has_ended(self, key: str) -> bool:
        """Tell whether this key was ended by one of the last resets."""
        return bool(self.ended) and mark(key) in self.ended

    def ending(self, keys: Iterable[str]) -> Epoch:
        """Return the cookie of the same identity when these keys have ended as well."""
        marks = [*self.ended, *map(mark, keys)]
        return Epoch(self.id, tuple(dict.fromkeys(marks))[-_MOST_ENDED:])

    def reviving(self, key: str) -> Epoch:
        """Return the cookie when User.com has named this key: the same person is back."""
        return Epoch(self.id, tuple(each for each in self.ended if each != mark(key)))


Epoch.NONE = Epoch()


def mark(key: str) -> str:
    """Shorten a user key to 24 bits (of FNV-1a): enough to know it again, too little to find it.

    Not the digest: a page's script has to compute it at once, before ``widget.js`` runs.
    """
    state = 0x811C9DC5
    for byte in key.encode():
        state = (state ^ byte) * 16777619 & 0xFFFFFFFF
    return f"{state >> 8:x}"


def widget_domain(host: str) -> str | None:
    """Return the ``Domain`` under which the widget keeps its cookie on this host; None for the host itself.

    The last two labels, or three where the ending looks like ``co.uk`` (two letters after at most three). That takes
    ``www.foo.co`` for such an ending as well; we must be wrong in the same places, or there are two cookies of one name.
    Vendor's bundle of 2022-05 [C S3].
    """
    labels = host.split(".")
    if len(labels) < 2 or not _is_name(host):
        return None
    long_ending = len(labels[-1]) == 2 and len(labels[-2]) <= 3
    return ".".join(labels[-3 if long_ending else -2 :])


def cookie_home(host: str, domain: str | None) -> str | None:
    """Return the ``Domain`` of the visitor's cookie: the configured one, or where the widget would keep it."""
    return domain or widget_domain(host)


def set_key(key: str, *, host: str, secure: bool, domain: str | None) -> Iterator[bytes]:
    """Yield the ``Set-Cookie`` values that put the visitor's key where the widget would, and nowhere else."""
    home = cookie_home(host, domain)
    yield from _expire_all(host, secure=secure, home=home, keep=True)
    yield set_cookie(COOKIE, key, max_age=MAX_AGE, domain=home, secure=secure)


def expire_key(*, host: str, secure: bool, domain: str | None) -> Iterator[bytes]:
    """Yield the ``Set-Cookie`` values that end ``__ca__chat`` wherever it may live."""
    yield from _expire_all(host, secure=secure, home=cookie_home(host, domain), keep=False)


def set_marker(marker: ResetMarker, *, secure: bool) -> bytes:
    """Return the ``Set-Cookie`` value of the marker."""
    return set_cookie(
        MARKER, str(marker), max_age=MAX_AGE, domain=None, secure=secure, http_only=True
    )


def expire_marker(*, host: str, secure: bool, domain: str | None) -> Iterator[bytes]:
    """Yield the ``Set-Cookie`` values that end the marker, wherever one may live."""
    yield from expire_twins(MARKER, host=host, secure=secure, domain=domain, http_only=True)


def set_epoch(epoch: Epoch, *, host: str, secure: bool, domain: str | None) -> bytes:
    """Return the ``Set-Cookie`` value of the epoch: where the visitor's key lives, since one reset is that of all its hosts."""
    return set_cookie(
        EPOCH, str(epoch), max_age=MAX_AGE, domain=cookie_home(host, domain), secure=secure
    )


def expire_twins(
    name: str,
    *,
    host: str,
    secure: bool,
    domain: str | None,
    path: str = "/",
    http_only: bool = False,
) -> Iterator[bytes]:
    """Yield the ``Set-Cookie`` values that end a cookie wherever it may live: any domain, any path above ``path``."""
    for place in _paths(path):
        for home in cookie_homes(host, domain):
            yield set_cookie(
                name, "", max_age=0, domain=home, secure=secure, http_only=http_only, path=place
            )


def _paths(path: str) -> list[str]:
    """Return the paths that a cookie of this page may have, the longest left out: what is sent must stay small."""
    steps = (
        [step for step in path.split("/") if step][:_MOST_STEPS] if _PATH.fullmatch(path) else []
    )
    return ["/", *("/" + "/".join(steps[:n]) for n in range(1, len(steps) + 1))]


def cookie_homes(host: str, domain: str | None) -> list[str | None]:
    """Return every ``Domain`` under which a cookie of this host may live; None is the host alone.

    A host with very many labels is nobody's shop: the client names it, and must not choose how much we answer.
    """
    homes: list[str | None] = [None]
    labels = host.split(".")
    if _is_name(host):
        homes += [".".join(labels[n:]) for n in range(len(labels) - 1)][-_MOST_HOMES:]
    if domain is not None and domain not in homes:
        homes.append(domain)
    return homes


def _is_name(host: str) -> bool:
    return len(host) <= 253 and _IPV4.fullmatch(host) is None and _HOST.fullmatch(host) is not None


def _expire_all(host: str, *, secure: bool, home: str | None, keep: bool) -> Iterator[bytes]:
    for place in cookie_homes(host, home):
        if not (keep and place == home):
            yield set_cookie(COOKIE, "", max_age=0, domain=place, secure=secure)


def set_cookie(
    name: str,
    value: str,
    *,
    max_age: int,
    domain: str | None,
    secure: bool,
    http_only: bool = False,
    path: str = "/",
) -> bytes:
    """Return a ``Set-Cookie`` value: ``SameSite=Lax``, expired at once if ``max_age`` is 0 (seconds)."""
    # Written by hand: http.cookies knows neither every attribute on every Python, nor how to stay out of the way.
    parts = [f"{name}={value}", f"Path={path}", f"Max-Age={max_age}"]
    if not max_age:
        parts.append("Expires=Thu, 01 Jan 1970 00:00:00 GMT")
    if domain:
        parts.append(f"Domain={domain}")
    parts.append("SameSite=Lax")
    if secure:
        parts.append("Secure")
    if http_only:
        parts.append("HttpOnly")
    return "; ".join(parts).encode("ascii")
