"""How User.com is connected to: TLS, and the proxy that the environment names."""

from __future__ import annotations

import logging
from functools import cache
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpcore
import httpx

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

logger = logging.getLogger("usercom_asgi")

#: One connection of httpcore's, direct or (as a pool with room for one) through a proxy.
Connection: TypeAlias = httpcore.AsyncHTTPConnection | httpcore.AsyncHTTPProxy

# Seconds for which a connection that nobody uses stays open.
_KEPT = 30.0


def connector(origin: str) -> Callable[[], Connection]:
    """Return what makes one more connection to this origin."""
    tls = tls_context() if origin.startswith("https:") else None
    proxy = proxy_for(origin)
    if proxy is None:
        url = core_url(httpx.URL(origin))
        return lambda: httpcore.AsyncHTTPConnection(url.origin, ssl_context=tls, keepalive_expiry=_KEPT)
    return lambda: httpcore.AsyncHTTPProxy(
        proxy_url=core_url(proxy.url),
        proxy_auth=proxy.raw_auth,
        ssl_context=tls,
        max_connections=1,
        keepalive_expiry=_KEPT,
    )


def core_url(url: httpx.URL) -> httpcore.URL:
    """Return an address as httpcore wants it, that is, in ASCII."""
    return httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)


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
    if found is None or found.url.scheme not in ("http", "https"):  # socks would want one more library
        # Without the address, which may hold a password.
        logger.error("the environment's proxy for %s is none that can be used: User.com is called directly", parts.scheme)
        return None
    return found


@cache
def tls_context() -> ssl.SSLContext:
    """Return what certificates are checked with."""
    # Reading the certificates takes tens of milliseconds: once a process, not once a request without a lifespan.
    return httpx.create_ssl_context()
