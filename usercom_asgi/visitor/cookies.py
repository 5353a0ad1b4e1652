"""Cookies by which browsers are recognised: user key, reset marker and epoch, and where they live.

Every value from a cookie is untrusted: it matches a pattern, or counts as absent.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..core.user_key import COOKIE

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ..core.user_key import ResetMarker

#: Set at a reset: ``<digest of the old key>.<token of the
#: reset>.<seconds since 1970>``.
RESET_COOKIE = "__ca__reset"
#: The identity of the browser, and marks of ended keys. The page's scripts read it.
EPOCH_COOKIE = "__ca__epoch"
#: The widget renews its cookie for 365 days at every ping (vendor's bundle of
#: 2022-05 [C S3]).
MAX_AGE = 365 * 24 * 3600

_EPOCH = re.compile(r"([0-9A-Za-z_-]{0,32})((?:\.[0-9a-f]{1,6}){0,8})")
_MAX_ENDED_KEYS = 6
_HOST = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*")
_MAX_DOMAINS = 8
_PATH = re.compile(r"[A-Za-z0-9/._~!$&'()*+,=:@%-]{1,256}")
_MAX_PATH_SEGMENTS = 3
_IPV4 = re.compile(r"[0-9]+(?:\.[0-9]+){3}")


def read_cookies(headers: Iterable[tuple[bytes, bytes]], *names: str) -> dict[str, list[str]]:
    """Return the values of some cookies, in the order of the ``cookie`` headers.

    HTTP/2 may send several of those headers. Of two cookies with one name, the first
    counts: browsers send the one with the more specific path first (RFC 6265, 5.4).
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
    """The identity of a browser, and marks of keys that must not come back to it.

    Every reset changes ``id``. Neither ``id`` nor the marks are secret. The newest mark
    is the last.
    """

    NONE: ClassVar[Epoch]

    id: str = ""
    ended: tuple[str, ...] = ()

    @classmethod
    def parse(cls, value: str | None) -> Epoch:
        """Return the epoch in a cookie's value, or ``Epoch.NONE`` for a malformed value."""
        match = _EPOCH.fullmatch(value) if value else None
        return cls(match[1], tuple(filter(None, match[2].split(".")))) if match else cls.NONE

    def __str__(self) -> str:
        return ".".join([self.id, *self.ended])

    def has_ended(self, key: str) -> bool:
        """Return whether one of the last resets has ended this key."""
        return bool(self.ended) and key_mark(key) in self.ended

    def with_ended(self, keys: Iterable[str]) -> Epoch:
        """Return the epoch after these keys have ended as well."""
        marks = [*self.ended, *map(key_mark, keys)]
        return Epoch(self.id, tuple(dict.fromkeys(marks))[-_MAX_ENDED_KEYS:])

    def with_revived(self, key: str) -> Epoch:
        """Return the epoch after User.com has named this key, because the person is back."""
        return Epoch(self.id, tuple(each for each in self.ended if each != key_mark(key)))


Epoch.NONE = Epoch()


def key_mark(key: str) -> str:
    """Return 24 bits of FNV-1a of a user key: enough to recognise it, too few to find it.

    It is not the SHA-256 digest, because the page's script computes it synchronously,
    before ``widget.js`` runs.
    """
    state = 0x811C9DC5
    for byte in key.encode():
        state = (state ^ byte) * 16777619 & 0xFFFFFFFF
    return f"{state >> 8:x}"


def widget_domain(host: str) -> str | None:
    """Return the ``Domain`` of the widget's cookie on this host; None for the host itself.

    It is the last two labels, or three if the end looks like ``co.uk``: two letters
    after at most three. That is wrong for ``www.foo.co``, but it has to be the
    widget's own rule, or there would be two cookies of one name. Vendor's bundle of
    2022-05 [C S3].
    """
    labels = host.split(".")
    if len(labels) < 2 or not _is_name(host):
        return None
    has_long_ending = len(labels[-1]) == 2 and len(labels[-2]) <= 3
    return ".".join(labels[-3 if has_long_ending else -2 :])


def cookie_domains(host: str, configured: str | None) -> list[str | None]:
    """Return every ``Domain`` that a cookie of this host may have; None is the host alone.

    At most ten, because the client chooses the host, and must not choose the size
    of our answer.
    """
    domains: list[str | None] = [None]
    labels = host.split(".")
    if _is_name(host):
        domains += [".".join(labels[n:]) for n in range(len(labels) - 1)][-_MAX_DOMAINS:]
    if configured is not None and configured not in domains:
        domains.append(configured)
    return domains


def _is_name(host: str) -> bool:
    return len(host) <= 253 and _IPV4.fullmatch(host) is None and _HOST.fullmatch(host) is not None


@dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)
class CookieWriter:
    """Writes the ``Set-Cookie`` values of one response.

    ``domain`` is the configured one. ``duplicates`` names the cookies that the browser
    sent twice. They live in two places, so each is expired everywhere before it is set.
    """

    host: str
    secure: bool
    domain: str | None = None
    path: str = "/"
    duplicates: frozenset[str] = frozenset()

    @property
    def home(self) -> str | None:
        """The ``Domain`` of the user key: the configured one, or the widget's."""
        return self.domain or widget_domain(self.host)

    @property
    def domains(self) -> list[str | None]:
        """Every ``Domain`` that the user key may have, its home first."""
        home = self.home
        return [home, *(each for each in cookie_domains(self.host, home) if each != home)]

    def set_key(self, key: str | None) -> list[bytes]:
        """Put the user key where the widget keeps it, and nowhere else; None expires it."""
        stale = list(cookie_domains(self.host, self.home))
        if key is not None:
            stale.remove(self.home)
        expired = [self._expire(COOKIE, domain) for domain in stale]
        kept = [] if key is None else [self._set(COOKIE, key, self.home)]
        return [*self._expire_duplicates(COOKIE), *expired, *kept]

    def set_epoch(self, epoch: Epoch) -> list[bytes]:
        """Put the epoch beside the user key, since one reset counts for all its hosts."""
        return [
            *self._expire_duplicates(EPOCH_COOKIE),
            self._set(EPOCH_COOKIE, str(epoch), self.home),
        ]

    def set_reset_marker(self, marker: ResetMarker) -> bytes:
        """Set the marker of a reset, for this host alone."""
        return self._set(RESET_COOKIE, str(marker), None, http_only=True)

    def expire_reset_marker(self) -> list[bytes]:
        """Expire the marker on every domain."""
        domains = cookie_domains(self.host, self.domain)
        return [self._expire(RESET_COOKIE, domain, http_only=True) for domain in domains]

    def _expire_duplicates(self, name: str) -> Sequence[bytes]:
        if name not in self.duplicates:
            return ()
        return expire_everywhere(
            name, host=self.host, secure=self.secure, domain=self.home, path=self.path
        )

    def _set(self, name: str, value: str, domain: str | None, *, http_only: bool = False) -> bytes:
        return set_cookie(
            name, value, max_age=MAX_AGE, domain=domain, secure=self.secure, http_only=http_only
        )

    def _expire(self, name: str, domain: str | None, *, http_only: bool = False) -> bytes:
        return set_cookie(
            name, "", max_age=0, domain=domain, secure=self.secure, http_only=http_only
        )


def expire_everywhere(
    name: str,
    *,
    host: str,
    secure: bool,
    domain: str | None,
    path: str = "/",
    http_only: bool = False,
) -> list[bytes]:
    """Return ``Set-Cookie`` values that expire a cookie on every domain and parent path."""
    return [
        set_cookie(
            name, "", max_age=0, domain=each, secure=secure, http_only=http_only, path=parent
        )
        for parent in _parent_paths(path)
        for each in cookie_domains(host, domain)
    ]


def _parent_paths(path: str) -> list[str]:
    """Return the paths that a cookie of this page may have: at most four, to limit the size."""
    segments = [each for each in path.split("/") if each] if _PATH.fullmatch(path) else []
    segments = segments[:_MAX_PATH_SEGMENTS]
    return ["/", *("/" + "/".join(segments[:n]) for n in range(1, len(segments) + 1))]


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
    """Return a ``Set-Cookie`` value with ``SameSite=Lax``.

    ``max_age`` is in seconds; 0 expires the cookie. Written by hand, because
    ``http.cookies`` does not support every attribute on every Python.
    """
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
