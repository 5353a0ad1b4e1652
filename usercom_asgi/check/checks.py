"""Checks of a configuration by calls that create and change nothing."""

from __future__ import annotations

import json
import secrets
import socket
import string
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import anyio

from ..api.client import environment_proxy, open_api_client
from ..api.widget_api import EVENT
from ..core.exceptions import (
    ConfigurationError,
    DeliveryError,
    ForbiddenError,
    NotFoundError,
    UnauthorizedError,
    UnavailableError,
    UnexpectedResponseError,
)
from ..core.text import printable
from ..rest.client import UserComRest
from ..rest.failures import is_html

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..api.client import ApiClient, Response
    from ..core.config import UserComConfig

MAX_SKEW = 5.0  # seconds
_ENOUGH = 64 * 1024  # bytes of widget.js, of which only the head is read
_WIDGET_HEADERS = {
    "Accept": "*/*",
    "X-Requested-With": "XMLHttpRequest",
    "Content-Type": "application/json",
}
_REFUSALS = (401, 403)
_APP_KEY = "the app key of Workspace Settings > API & Integrations"
_NO_API = "Check the subdomain (app) or base_url."
_NOT_REACHED = "not checked, because the server was not reached"


class Mark(StrEnum):
    """How a check ended."""

    OK = "ok"
    FAILS = "fails"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Result:
    """One check: what it found, and the remedy if it fails."""

    mark: Mark
    name: str
    found: str
    remedy: str = ""

    def __str__(self) -> str:
        text = f"{self.mark:8} {self.name:10} {self.found}"
        return printable(f"{text}. {self.remedy}" if self.remedy else text)


def ok(name: str, found: str) -> Result:
    """Return a check that succeeded."""
    return Result(Mark.OK, name, found)


def fails(name: str, found: str, remedy: str) -> Result:
    """Return a check that failed."""
    return Result(Mark.FAILS, name, found, remedy)


def skipped(name: str, found: str) -> Result:
    """Return a check without a verdict."""
    return Result(Mark.SKIPPED, name, found)


async def run_checks(
    config: UserComConfig, show: Callable[[Result], object] = lambda _: None
) -> list[Result]:
    """Check the workspace of a configuration; ``show`` gets each result at once."""
    results: list[Result] = []

    def add(result: Result) -> None:
        results.append(result)
        show(result)

    add(await _name(config))
    is_reached = results[0].mark is not Mark.FAILS
    clock = _Clock()
    if is_reached:
        async with open_api_client(config, None) as client:
            try:
                add(await _widget(client, clock))
                add(await _app_key(client, config, clock))
            except UnavailableError as error:
                is_reached = False
                add(_unreached("widget.js" if len(results) == 1 else "app key", error))
    if not is_reached:
        for name in ("widget.js", "app key", "token", "clock"):
            if name not in {each.name for each in results}:
                add(skipped(name, _NOT_REACHED))
        return results
    add(await _token(config))
    add(clock.result())
    return results


async def _name(config: UserComConfig) -> Result:
    host = _host(config.origin)
    if environment_proxy(config.origin) is not None:
        return skipped("name", f"{host} is resolved by the proxy of the environment")
    setting = "USERCOM_APP or --app" if config.app else "USERCOM_BASE_URL or --base-url"
    remedy = f"Check {setting}, and the name server of this machine."
    try:
        with anyio.fail_after(config.timeout):
            found = await anyio.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except TimeoutError:
        return fails("name", f"{host}: no answer of the name server", remedy)
    except (OSError, UnicodeError):
        return fails("name", f"{host} does not resolve", remedy)
    addresses = len({address[0] for *_, address in found})
    return ok("name", f"{host} resolves to {addresses} address{'es' if addresses > 1 else ''}")


async def _widget(client: ApiClient, clock: _Clock) -> Result:
    answer = await clock.call(client, "GET", "/widget.js", {"Accept": "*/*"}, max_body=_ENOUGH)
    status, kind = answer.status, answer.headers.get("content-type", "without a type")
    found = f"answered {status}, {kind}"
    if 200 <= status < 300 and not is_html(answer.headers):
        return ok("widget.js", found)
    if status == 429 or status >= 500:
        return fails("widget.js", found, "Try again later, since the server has an error.")
    if 300 <= status < 400:
        return fails("widget.js", found, "Set the address that the redirect leads to.")
    return fails(
        "widget.js", found, "Check the subdomain (app) or base_url: no workspace is served there."
    )


async def _app_key(client: ApiClient, config: UserComConfig, clock: _Clock) -> Result:
    """Compare the answer to an empty event with that for a made-up app key.

    An event without a name and without a user key cannot be stored. Which error has
    precedence is not documented, so one answer alone proves nothing.
    """
    statuses: list[int] = []
    for key in (config.api_key, _made_up(config.api_key)):
        # A workspace may have a list of domains.
        body = {"api_key": key, **({"domain": _host(config.site)} if config.site else {})}
        answer = await clock.call(client, "POST", EVENT, _WIDGET_HEADERS, json.dumps(body).encode())
        statuses.append(answer.status)
    given, other = statuses
    found = f"an empty event is answered with {given}, with a made-up app key {other}"
    if any(each == 429 or each >= 500 for each in statuses):
        return fails("app key", found, "Try again later, since the server has an error.")
    if given in _REFUSALS and given == other:
        return fails(
            "app key",
            f"refused: {found}",
            f"Set USERCOM_API_KEY to {_APP_KEY}; a list of allowed domains may refuse both.",
        )
    if given in _REFUSALS:
        return fails(
            "app key",
            f"refused: {found}",
            f"Compare it with {_APP_KEY}, and the domains that the workspace allows.",
        )
    if given != other:
        return ok("app key", f"accepted: {found}")
    return skipped(
        "app key",
        f"unknown: {found}; only a page hit, which creates a visitor, can show it: see --probe",
    )


def _host(address: str) -> str:
    return urlsplit(address).hostname or ""


def _made_up(app_key: str) -> str:
    while True:
        key = "".join(secrets.choice(string.ascii_letters + string.digits) for _ in app_key)
        if key != app_key:
            return key


async def _token(config: UserComConfig) -> Result:
    """Search a user key that does not exist, which transfers no personal data."""
    if not config.rest_token:
        return skipped(
            "token", "USERCOM_REST_TOKEN is not set; channel='widget' sends with the app key alone"
        )
    try:
        async with UserComRest.from_config(config, retries=0) as rest:
            query = {"key": secrets.token_hex(6)}
            is_api = (await rest.request("GET", "users/search/", query=query)).json is not None
    except NotFoundError as error:
        is_api = bool(error.detail)  # the API's own 404 has one, a web server's has not
    except ConfigurationError as error:  # such as http for a host that is not this one
        return fails("token", f"not sent: {error.field} {error.problem}", "Set an https address.")
    except UnauthorizedError:
        return fails(
            "token",
            "refused with 401",
            "Set USERCOM_REST_TOKEN to a key of App Settings > Advanced > Public REST API keys.",
        )
    except ForbiddenError:
        return fails("token", "may not read users: 403", "Allow the token to read and write users.")
    except UnexpectedResponseError as error:
        return fails("token", f"no REST API: {error.reason}", _NO_API)
    except UnavailableError as error:
        return fails("token", error.reason, "Try again later.")
    except DeliveryError as error:
        return fails("token", error.reason, "Report this answer to the authors of usercom-asgi.")
    if not is_api:
        return fails("token", "no REST API: an answer without JSON", _NO_API)
    return ok(
        "token", f"accepted by the REST API; channel={'rest' if config.uses_rest else 'widget'!r}"
    )


def _unreached(name: str, error: UnavailableError) -> Result:
    return fails(
        name,
        f"no answer: {error.reason}",
        "Check address, firewall, proxy and certificates, and that the server runs.",
    )


class _Clock:
    """Difference between this clock and that of the server, from ``Date`` headers."""

    def __init__(self) -> None:
        self._skew: float | None = None
        self._tolerance = 0.0

    async def call(
        self,
        client: ApiClient,
        method: str,
        path: str,
        headers: dict[str, str],
        content: bytes = b"",
        *,
        max_body: int = _ENOUGH,
    ) -> Response:
        """Make a call and read the server's time from its answer."""
        began, at = time.monotonic(), time.time()
        answer = await client.request(
            method, path, headers, content, max_body=max_body, is_new=method == "POST"
        )
        lasted = time.monotonic() - began
        # A cache may have stored an answer with its Date.
        if "age" not in answer.headers or self._skew is None:
            self._read(answer.headers.get("date", ""), at + lasted / 2, lasted / 2)
        return answer

    def _read(self, date: str, at: float, tolerance: float) -> None:
        try:
            server = parsedate_to_datetime(date).timestamp()
        except (TypeError, ValueError, OverflowError):
            return
        # The header has whole seconds, so the server's clock is half a second later.
        self._skew, self._tolerance = at - (server + 0.5), tolerance + 0.5

    def result(self) -> Result:
        """Return the check of this machine's clock."""
        if self._skew is None:
            return skipped("clock", "the answers have no Date")
        side = "ahead of" if self._skew > 0 else "behind"
        found = f"{abs(self._skew):.0f} s {side} the server's"
        if abs(self._skew) - self._tolerance <= MAX_SKEW:
            return ok("clock", found)
        return fails(
            "clock",
            found,
            "Synchronize it (NTP), because events carry its time and a reset has a deadline.",
        )
