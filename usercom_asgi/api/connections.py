"""How User.com is connected to: TLS, and the proxy that the environment names."""

from __future__ import annotations

import logging
from base64 import b64encode
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import anyio
import h11
import httpx
from anyio.streams.tls import TLSStream

from .exchange import Connection, Reply, close

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence

    from anyio.abc import ByteStream

logger = logging.getLogger("usercom_asgi")

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Route:
    """The way to an origin: directly, or through a proxy."""

    scheme: str
    host: str
    port: int
    #: Name and port as ``Host`` wants them.
    authority: str
    proxy: httpx.Proxy | None = None

    @classmethod
    def to(cls, origin: str) -> Route:
        """Return the way to this origin; its host is in ASCII."""
        parts = urlsplit(origin)
        return cls(parts.scheme, parts.hostname or "", parts.port or _PORTS[parts.scheme], parts.netloc, proxy_for(origin))

    @property
    def _is_passed_on(self) -> bool:
        """Whether a proxy is given the requests themselves, and not a tunnel (RFC 9112, 3.2.2)."""
        return self.proxy is not None and self.scheme == "http"

    @property
    def prefix(self) -> str:
        """What stands before the path of a request."""
        return f"http://{self.authority}" if self._is_passed_on else ""

    @property
    def headers(self) -> Sequence[tuple[bytes, bytes]]:
        """What a request says of the way."""
        return [(b"Host", self.authority.encode()), *_credentials(self.proxy if self._is_passed_on else None)]

    async def connect(self) -> Connection:
        """Open one more connection.

        Raises:
            OSError: Nobody listens, the name is unknown, the certificate is not trusted, or the proxy says no.
            anyio.BrokenResourceError, anyio.EndOfStream, h11.RemoteProtocolError: It broke on the way.

        """
        next_host, next_port = self.host, self.port
        if self.proxy is not None:
            url = self.proxy.url
            next_host, next_port = url.raw_host.decode("ascii"), url.port or _PORTS[url.scheme]
        stream: ByteStream = await anyio.connect_tcp(next_host, next_port)
        try:
            if self.proxy is not None and self.proxy.url.scheme == "https":
                stream = await _encrypted(stream, next_host)
            if self.scheme == "https":
                if self.proxy is not None:
                    await _tunnel(stream, self)
                stream = await _encrypted(stream, self.host)
        except BaseException:
            await close(stream)
            raise
        return Connection(stream)


async def _encrypted(stream: ByteStream, host: str) -> ByteStream:
    # An end without a goodbye is none of TLS's business here: HTTP tells whether an answer is whole.
    return await TLSStream.wrap(stream, hostname=host, ssl_context=tls_context(), standard_compatible=False)


async def _tunnel(stream: ByteStream, route: Route) -> None:
    """Have the proxy pass on what follows as it comes (RFC 9110, 9.3.6)."""
    host = f"[{route.host}]" if ":" in route.host else route.host
    target = f"{host}:{route.port}"
    headers = [(b"Host", target.encode()), *_credentials(route.proxy)]
    reply = Reply()
    # Its own h11, which ends with the proxy's answer.
    await Connection(stream).exchange(h11.Request(method="CONNECT", target=target, headers=headers), b"", reply, lambda: None)
    if not 200 <= reply.status < 300:
        raise ProxyRefused(reply.status)


class ProxyRefused(OSError):
    """The proxy does not connect us."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the proxy answered {status}")


def _credentials(proxy: httpx.Proxy | None) -> list[tuple[bytes, bytes]]:
    if proxy is None or proxy.raw_auth is None:
        return []
    return [(b"Proxy-Authorization", b"Basic " + b64encode(b":".join(proxy.raw_auth)))]


def proxy_for(origin: str) -> httpx.Proxy | None:
    """Return the proxy that the environment names for this origin: what every HTTP client does."""
    parts = urlsplit(origin)
    proxies = getproxies()
    proxy = (proxies.get(parts.scheme) or proxies.get("all") or "").strip()
    if not proxy or proxy_bypass(parts.netloc):
        return None
    try:
        found = httpx.Proxy(proxy if "://" in proxy else f"http://{proxy}")
    except (ValueError, httpx.InvalidURL):
        found = None
    # Socks would want one more library, and httpx takes any number for a port.
    if found is None or found.url.scheme not in _PORTS or not (found.url.port is None or 0 < found.url.port < 2**16):
        # Without the address, which may hold a password.
        logger.error("the environment's proxy for %s is none that can be used: User.com is called directly", parts.scheme)
        return None
    return found


@cache
def tls_context() -> ssl.SSLContext:
    """Return what certificates are checked with."""
    # Reading the certificates takes tens of milliseconds: once a process, not once a request without a lifespan.
    context = httpx.create_ssl_context()
    context.set_alpn_protocols(["http/1.1"])
    return context
