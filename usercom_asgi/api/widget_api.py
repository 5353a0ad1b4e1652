"""``WidgetApi``: the endpoints that ``widget.js`` calls with the app key alone.

The endpoints are undocumented. Paths and fields are those of the vendor's bundle of
2022-05-28 ("VERSION v2"; docs/usercom.md, 3 [C S3]); the ping was still in use in 2026.
Only this module knows them, so a change of the vendor is corrected in one place.
"""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, cast

from ..core.commands import Event, PageHit, ProductEvent, ResetAuth
from ..core.envelope import SendResult
from ..core.exceptions import RejectedError
from ..core.user_key import is_user_key
from .client import open_api_client

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from ..core.commands import Update
    from ..core.config import UserComConfig
    from ..core.envelope import Envelope, PageContext
    from .client import ApiClient, Transport

PING = "/api/v2/user-chatping/"
EVENT = "/api/event/"
PRODUCT_EVENT = "/api/product_event/"
UPDATE = "/api/update-attribute/"
_CONTROL_CHARACTERS = bytes((*range(0x20), 0x7F))


@asynccontextmanager
async def open_widget_api(
    config: UserComConfig, *, transport: Transport | None = None
) -> AsyncGenerator[WidgetApi]:
    """Open a :class:`WidgetApi` with a client of its own."""
    async with open_api_client(config, transport) as client:
        yield WidgetApi(client, config.api_key)


class WidgetApi:
    """Sender of commands in the format of the widget, with one request per command."""

    def __init__(self, client: ApiClient, api_key: str) -> None:
        self._client = client
        self._api_key = api_key

    async def send(self, envelope: Envelope, key: str | None) -> SendResult:
        """Send one command as the visitor with ``key``; see :class:`.Sender`."""
        command, page = envelope.command, envelope.page
        if isinstance(command, PageHit) and (
            key is not None or envelope.identity or envelope.may_create
        ):
            found = await self._ping(
                {**envelope.identity, **command.attributes}, key, page, url=command.url
            )
            return SendResult(found, next_command=command.event)
        if isinstance(command, ResetAuth):
            # Omit the identity, because the widget does not send it with
            # a reset either.
            return SendResult(await self._ping(command.attributes, None, page, create_new_gu=True))
        if key is None:
            return await self._ask_for_key(envelope)
        if isinstance(command, Event):
            await self._event(EVENT, {"event": command.name}, dict(command.data), key, page)
        elif isinstance(command, ProductEvent):
            await self._event(PRODUCT_EVENT, {}, command.payload(), key, page)
        else:
            await self._update(cast("Update", command), key, page)
        return SendResult(key)

    async def _ask_for_key(self, envelope: Envelope) -> SendResult:
        """Find or create the profile of a known user by a ping, which returns its key.

        For an unknown user, each ping would create another anonymous profile.
        """
        if not envelope.identity:
            raise RejectedError("the command has neither a user key nor a known user")
        found = await self._ping(envelope.identity, None, envelope.page)
        return SendResult(found, next_command=envelope.command)

    async def _ping(
        self,
        attributes: Mapping[str, object],
        key: str | None,
        page: PageContext,
        *,
        url: str | None = None,
        create_new_gu: bool = False,
    ) -> str:
        body: dict[str, object] = {
            **attributes,
            "apiKey": self._api_key,
            "domain": page.domain,
            "url": url or page.url,
            "referrer": page.referrer,
        }
        body.pop("source_context", None)  # the widget does not send it in a ping either
        if key is not None:
            body["userKey"] = key
        if create_new_gu:
            body["create_new_gu"] = True
        return _user_key(await self._client.post_json(PING, body, _headers(page), read_body=True))

    async def _event(
        self,
        path: str,
        names: Mapping[str, str],
        data: Mapping[str, object],
        key: str,
        page: PageContext,
    ) -> None:
        # The widget sends the data as JSON in a string of JSON.
        body = {
            "api_key": self._api_key,
            "user_key": key,
            "domain": page.domain,
            **names,
            "data": json.dumps(data),
        }
        await self._client.post_json(path, body, _headers(page))

    async def _update(self, command: Update, key: str, page: PageContext) -> None:
        body = {"apiKey": self._api_key, "userKey": key, "data": [dict(command.attributes)]}
        await self._client.post_json(UPDATE, body, _headers(page))


def _headers(page: PageContext) -> dict[str, str]:
    """Return the headers that the browser would send."""
    headers = {"Accept": "*/*", "X-Requested-With": "XMLHttpRequest"}
    # The application may pass a user agent with characters that a header cannot hold.
    agent = page.user_agent.encode("ascii", "ignore").translate(None, _CONTROL_CHARACTERS).strip()
    return {**headers, "User-Agent": agent.decode()} if agent else headers


def _user_key(response: bytes) -> str:
    """Return ``user.key`` of a response, checked because it becomes a cookie."""
    key: object
    try:
        key = json.loads(response)["user"]["key"]
    except (ValueError, KeyError, TypeError, RecursionError):
        key = None
    if not is_user_key(key):
        # User.com may have processed the ping, so a retry could count the view twice.
        raise RejectedError(f"POST {PING} answered without a user key", status=200)
    return key
