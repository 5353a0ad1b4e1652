"""Replaces methods of the library while a capture runs: it costs nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from ..client import UserComClient
from ..core.config import DISABLED
from ..core.user_key import COOKIE
from ..middleware import usercom as middleware
from ..middleware.delivery_provider import DeliveryProvider
from ..middleware.responder import Responder
from ..middleware.site import Site
from ..page.eligibility import may_be_html
from ..page.headers import header_list, without
from ..visitor.consent import NO_CONSENT
from ..visitor.cookies import RESET_COOKIE, read_cookies
from .captured import Captured, as_browser_commands
from .delivery import RecordingDelivery
from .records import CapturedPage
from .session import RecordingSession

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from starlette.types import Message, Scope, Send

    from ..core.config import UserComConfig
    from ..core.envelope import Delivery
    from ..middleware.responder import ResponsePlan
    from ..visitor.session import VisitorSession

    #: Finds what records for a part of a middleware or for a client.
    Find = Callable[[object], Captured | None]

_originals: list[tuple[object, str, Any]] = []


def install(find: Find) -> None:
    """Replace the methods. Only the first capture of several does."""
    for owner, name, make in _REPLACED:
        original = cast("dict[str, Any]", vars(owner))[name]
        _originals.append((owner, name, original))
        setattr(owner, name, make(original, find))


def remove() -> None:
    """Put the methods back."""
    while _originals:
        owner, name, original = _originals.pop()
        setattr(owner, name, original)


def _make_service(original: Any, find: Find) -> Any:
    def make_service(self: Any) -> Any:
        captured = find(self)
        return original(self) if captured is None else RecordingDelivery(captured, _config_of(self))

    return make_service


def _running_for(original: Any, find: Find) -> Any:
    def running_for(self: DeliveryProvider, state: Mapping[str, Any]) -> Any:
        captured = find(self)
        if captured is None:
            return original(self, state)
        return RecordingDelivery(captured, _config_of(self))

    return running_for


def _config_of(part: Any) -> UserComConfig:
    return cast("UserComConfig", getattr(part, "config", None) or vars(part)["_config"])


def _client_delivery(original: Any, find: Find) -> Any:
    def delivery(self: UserComClient) -> Any:
        captured, running = find(self), original.fget(self)
        if captured is None or getattr(running, "captured", None) is captured:
            return running
        return RecordingDelivery(captured, self.config)

    return property(delivery)


def _client_send(original: Any, find: Find) -> Any:
    async def send(self: UserComClient, command: Any, **person: Any) -> Any:
        receipt = await original(self, command, **person)
        captured = find(self)
        if captured is not None and receipt.reason == DISABLED:
            person.pop("page", None)
            captured.add_command(command, receipt, key=person.pop("key", None), identity=person)
        return receipt

    return send


def _open_session(original: Any, find: Find) -> Any:
    def open_session(self: Site, scope: Scope, delivery: Delivery) -> VisitorSession:
        captured = find(self)
        if captured is None:
            return cast("VisitorSession", original(self, scope, delivery))
        _give_key(scope, captured.key)
        session: VisitorSession = original(self, scope, delivery)
        RecordingSession.convert(session, captured)
        return session

    return open_session


def _open_refused_session(original: Any, find: Find) -> Any:
    def open_refused_session(self: Site, scope: Scope, reason: str = NO_CONSENT) -> VisitorSession:
        captured = find(self)
        session: VisitorSession = original(self, scope, reason)
        if captured is not None:
            refusing = RecordingDelivery(captured, self.config, refusal=reason)
            RecordingSession.convert(session, captured, refusing)
        return session

    return open_refused_session


def _give_key(scope: Scope, key: str | None) -> None:
    """Give a browser a key, unless it has one or has just lost it at a logout."""
    headers = header_list(scope)
    if key is None or read_cookies(headers, COOKIE, RESET_COOKIE):
        return
    sent = [value for name, value in headers if name == b"cookie"]
    cookies = b"; ".join([*sent, f"{COOKIE}={key}".encode()])
    scope["headers"] = [*without(headers, {b"cookie"}), (b"cookie", cookies)]


def _plan(original: Any, _find: Find) -> Any:
    async def plan(self: Responder, start: Message, layout: Any) -> ResponsePlan:
        made: ResponsePlan = await original(self, start, layout)
        session = self.session
        if isinstance(session, RecordingSession) and may_be_html(made.headers):
            commands = made.commands if made.gets_snippet else None
            identity = {**(commands.identity or {} if commands else {}), **session.identity}
            session.captured.add_page(
                CapturedPage(
                    path=session.request.path,
                    method=session.request.method,
                    status=start["status"],
                    identity=identity if made.gets_snippet else {},
                    calls=tuple(as_browser_commands(commands.calls)) if commands else (),
                    plan_reason=made.skip_reason,
                    responder=self,
                )
            )
        return made

    return plan


def _expire_key_on_send(original: Any, _find: Find) -> Any:
    def expire_key_on_send(send: Send, visitor: VisitorSession, config: UserComConfig) -> Send:
        async def send_on(message: Message) -> None:
            if (
                isinstance(visitor, RecordingSession)
                and message["type"] == "http.response.start"
                and may_be_html(header_list(message))
            ):
                page = CapturedPage(
                    path=visitor.request.path,
                    method=visitor.request.method,
                    status=message["status"],
                    plan_reason=NO_CONSENT,
                )
                visitor.captured.add_page(page)
            await send(message)

        return cast("Send", original(send_on, visitor, config))

    return expire_key_on_send


_REPLACED: tuple[tuple[Any, str, Callable[[Any, Find], Any]], ...] = (
    (DeliveryProvider, "_make_service", _make_service),
    (DeliveryProvider, "running_for", _running_for),
    (UserComClient, "_make_service", _make_service),
    (UserComClient, "delivery", _client_delivery),
    (UserComClient, "send", _client_send),
    (Site, "open_session", _open_session),
    (Site, "open_refused_session", _open_refused_session),
    (Responder, "_plan", _plan),
    (middleware, "expire_key_on_send", _expire_key_on_send),
)
