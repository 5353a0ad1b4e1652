"""One HTTP client for User.com, and what its answers mean to the delivery."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING

import httpx

from ..errors import Refused, Unavailable

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator, Mapping

    from ..config import UserComConfig

#: Worth another try. All known clients of User.com retry 429 and 5xx; 408 and 425 mean the same (RFC 9110, RFC 8470).
RETRIED_STATUSES = frozenset({408, 425, 429})
_DETAIL = 500


@asynccontextmanager
async def open_client(config: UserComConfig) -> AsyncGenerator[httpx.AsyncClient]:
    """Open a client whose pool cannot be the bottleneck.

    httpx leaks pool slots when a request is cancelled while others wait for a slot, so nobody ever waits for one: the limit
    is above the number of workers, and the pool's own timeout is off.
    """
    timeout = httpx.Timeout(config.timeout, pool=None)
    limits = httpx.Limits(max_connections=config.max_concurrency * 2 + 2, keepalive_expiry=30)
    verify = _tls() if config.origin.startswith("https:") else False
    # One client speaks for all visitors: a cookie that comes with an answer to one must not go out with the next one's call.
    no_cookies = CookieJar(DefaultCookiePolicy(allowed_domains=[]))
    async with httpx.AsyncClient(
        cookies=no_cookies, base_url=config.origin, timeout=timeout, limits=limits, verify=verify, follow_redirects=False
    ) as client:
        yield client


async def post(client: httpx.AsyncClient, path: str, body: object, headers: Mapping[str, str]) -> httpx.Response:
    """Send JSON; return the answer if it is a success.

    Raises:
        Unavailable: Nobody answered, or the answer was 408, 425, 429 or 5xx.
        Refused: Any other answer. (A redirect too: it would lose the body, and comes from a wrong address.)

    """
    try:
        response = await client.post(path, json=body, headers=headers)
    except (httpx.InvalidURL, httpx.LocalProtocolError, httpx.UnsupportedProtocol) as error:
        raise Refused(f"POST {path}: {type(error).__name__}") from error  # ours, and no better next time
    except httpx.HTTPError as error:
        # The type tells enough, and the text might quote the request.
        unreached = isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout))
        raise Unavailable(f"POST {path}: {type(error).__name__}", untouched=unreached) from error
    status = response.status_code
    if response.is_success:
        return response
    if status in RETRIED_STATUSES or status >= 500:
        raise Unavailable(
            f"POST {path} answered {status}", status=status, retry_after=_retry_after(response), untouched=status == 429
        )
    raise Refused(f"POST {path} answered {status}", status=status, detail=response.text[:_DETAIL])


def _retry_after(response: httpx.Response) -> float | None:
    """``Retry-After`` in seconds; it comes as a number or as a date (RFC 9110, 10.2.3)."""
    value = response.headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (TypeError, ValueError, OverflowError):
        return None


@cache
def _tls() -> ssl.SSLContext:
    # Reading the certificates takes tens of milliseconds: once a process, not once a request without a lifespan.
    return httpx.create_ssl_context()
