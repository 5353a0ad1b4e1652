"""A visitor without an application, for tests of handlers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from ..core.config import DISABLED, UserComConfig
from ..core.event_loops import current_loop
from ..core.user_key import COOKIE
from ..visitor.signed_cookies import FlashCookie
from ..visitor.verbs import SyncVerbs
from ..visitor.visitor import Visitor
from .captured import BROWSER_KEY, Captured
from .delivery import RecordingDelivery
from .session import RecordingSession

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from ..core.receipts import Receipt


class CapturedVisitor(Visitor):
    """A real visitor, whose commands are in :attr:`captured`."""

    __slots__ = ("captured",)

    def __init__(self, session: RecordingSession) -> None:
        super().__init__(session)
        #: What the visitor has sent.
        self.captured: Captured = session.captured

    @property
    def sync(self) -> SyncVerbs:
        """The verbs for plain functions; they need no event loop here."""
        return _DirectVerbs(self, None)


class _DirectVerbs(SyncVerbs):
    """The verbs in the calling thread: a recording delivery never waits."""

    __slots__ = ()

    def _run(self, verb: str, call: Callable[[], Coroutine[Any, Any, Receipt]]) -> Receipt:
        if current_loop() is not None:  # as in an application, where it raises
            return super()._run(verb, call)
        running = call()
        try:
            running.send(None)
        except StopIteration as end:
            receipt: Receipt = end.value
            return receipt
        finally:
            running.close()
        raise RuntimeError(f"sync.{verb}() of a captured visitor has waited")


def make_visitor(
    url: str = "http://testserver/",
    *,
    key: str | None = BROWSER_KEY,
    user_id: str | int | None = None,
    email: str | None = None,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    cookies: Mapping[str, str] | None = None,
    websocket: bool = False,
    config: UserComConfig | None = None,
    **identity: Any,
) -> CapturedVisitor:
    """Return a visitor whose commands are recorded in ``visitor.captured``.

    ::

        visitor = make_visitor(user_id=7)
        app.dependency_overrides[get_visitor] = lambda: visitor

    Args:
        url: The address of the request, or its path alone.
        key: The visitor's user key; None for a first visit.
        user_id: The application's own id of this person.
        email: The person's e-mail address.
        method: The method of the request.
        headers: Further headers.
        cookies: Further cookies.
        websocket: Makes it the visitor of a websocket.
        config: By default :meth:`UserComConfig.sandbox`, which is strict.
        **identity: Further attributes of the person, as of ``identify()``.

    """
    config = config or UserComConfig.sandbox()
    captured = Captured(key)
    scope = _scope(url, method, websocket=websocket)
    pairs = {COOKIE: key, **(cookies or {})} if key else {**(cookies or {})}
    given = {"host": scope["host"], **(headers or {})}
    if pairs:
        given["cookie"] = "; ".join(f"{name}={value}" for name, value in pairs.items())
    scope["headers"] = [
        (name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in given.items()
    ]
    keys = config.secret_keys
    delivery = RecordingDelivery(captured, config, refusal="" if config.enabled else DISABLED)
    delivery.loop = None  # the verbs may be called in any event loop or thread
    session = RecordingSession(
        scope,
        delivery,
        config,
        flash=FlashCookie(keys, config.cookie_domain) if keys else None,
    )
    RecordingSession.convert(session, captured)
    visitor = CapturedVisitor(session)
    visitor.identify(user_id=user_id, email=email, **identity)
    return visitor


def _scope(url: str, method: str, *, websocket: bool) -> dict[str, Any]:
    parts = urlsplit(url if "://" in url else f"http://testserver{url}")
    scope: dict[str, Any] = {
        "type": "websocket" if websocket else "http",
        "scheme": parts.scheme,
        "host": parts.netloc,
        "path": parts.path or "/",
        "raw_path": quote(parts.path or "/").encode(),
        "query_string": parts.query.encode(),
        "client": ("testclient", 50000),
    }
    return scope if websocket else {**scope, "method": method}
