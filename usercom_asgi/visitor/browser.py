"""Commands for the widget in the page: ``visitor.browser`` and its queue."""

from __future__ import annotations

import json
import logging
import secrets
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from ..core.commands import Event, PageHit, ProductEvent, ResetAuth, Update
from ..core.exceptions import ConfigurationError, InvalidCommand
from ..core.problems import report
from ..core.receipts import Receipt
from .verbs import make_command

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ..core.commands import Command, EventType, EventTypeName
    from ..core.config import UserComConfig
    from ..core.validation import Json

logger = logging.getLogger("usercom_asgi")

#: One call in the page: a unique id, the name of the function, and its arguments.
BrowserCall: TypeAlias = "list[Json]"

#: Bytes of JSON that a header or the cookie of a response carries. A browser takes
#: 4,096 for a cookie, signed and encoded. But nginx by default takes 4,096 for all
#: headers of a response, and answers 502 to more.
MAX_BYTES = 1_500
RESET = "UE.resetAuth"
# Begins the id of a command that the page runs for one of the visitor's own methods.
_KEPT = "kept."


class BrowserCommands:
    """The SDK's verbs for the widget in the page. They run there in order, each once.

    In a response with the snippet, they run in that page. In a redirect or JSON they
    wait for the next page with the snippet. With htmx or ``bridge=True`` they run in
    the page that sent the request. A command is lost if the user leaves the page before
    its widget is ready, so record purchases with the visitor's own methods.

    If more commands wait than fit into a cookie, the oldest are dropped with a warning.
    A command after the response has started is dropped with a warning too; with
    ``strict=True`` it raises :class:`~usercom_asgi.InvalidCommand`.

    Nothing here is awaited. Each method raises the same errors as the visitor's own, and
    :class:`~usercom_asgi.ConfigurationError` without ``secret_keys``.
    """

    __slots__ = ("_queue", "_strict")

    def __init__(self, queue: BrowserQueue, *, strict: bool) -> None:
        self._queue = queue
        self._strict = strict

    def event(self, name: str, data: Mapping[str, object] | None = None, /, **more: Any) -> None:
        """Record an event: ``userengage('event.NAME', {...})``."""
        self._enqueue(partial(Event, name, data, **more))

    def product_event(
        self,
        product_id: str,
        event_type: EventType | EventTypeName,
        *,
        name: str | None = None,
        description: str | None = None,
        custom_data: Mapping[str, object] | None = None,
        **attributes: Any,
    ) -> None:
        """Record what happened to a product: ``userengage('product_event', {...})``."""
        self._enqueue(
            partial(
                ProductEvent,
                product_id,
                event_type,
                name,
                description,
                attributes,
                custom_data or {},
            )
        )

    def page_hit(self, /, event: Event | None = None, **attributes: Any) -> None:
        """Record a view of the URL that the browser shows: ``UE.pageHit({...})``."""
        self._enqueue(partial(PageHit, None, event, attributes))

    def update(self, /, **attributes: Any) -> None:
        """Change attributes: ``userengage('client.update', {...})``."""
        self._enqueue(partial(Update, attributes))

    def open(self) -> None:
        """Open the chat: ``userengage('widget.open')``."""
        self._queue.call("userengage", "widget.open")

    def close(self) -> None:
        """Close the chat: ``userengage('widget.close')``."""
        self._queue.call("userengage", "widget.close")

    def show(self) -> None:
        """Show the widget: ``userengage('widget.show')``."""
        self._queue.call("userengage", "widget.show")

    def hide(self) -> None:
        """Hide the widget: ``userengage('widget.hide')``."""
        self._queue.call("userengage", "widget.hide")

    def destroy(self) -> None:
        """Remove the widget from the page: ``UE.destroy()``. Later commands do not run there."""
        self._queue.call("UE.destroy")

    def _enqueue(self, make: Callable[[], Command]) -> None:
        command = make_command(make, strict=self._strict)
        if not isinstance(command, Receipt):
            report(f"browser {type(command).__name__}", command.problems, strict=self._strict)
            self._queue.enqueue(command)


class BrowserQueue:
    """The browser commands of one response."""

    def __init__(
        self,
        config: UserComConfig,
        *,
        persistent: bool,
        enabled: bool,
        is_closed: bool = False,
    ) -> None:
        self._config = config
        self._persistent = persistent
        self._enabled = enabled
        self._is_closed = is_closed
        self.calls: list[BrowserCall] = []

    def close(self) -> None:
        """Accept no more commands, because the response has started."""
        self._is_closed = True

    def restart(self, *, keep_calls: bool) -> None:
        """Drop the commands of a visitor who has ended."""
        if not keep_calls:
            self.calls = []

    def enqueue(self, command: Command) -> None:
        """Add a command.

        Raises:
            ConfigurationError: There are no ``secret_keys``.
            InvalidCommand: With ``strict=True``, the response has started. Otherwise
                the command is dropped with a warning.

        """
        self.call(*self._function_and_arguments(command))

    def try_enqueue(self, command: Command) -> bool:
        """Add a command if all of them fit into a header; return whether they do."""
        call = [_KEPT + _new_id(), *self._function_and_arguments(command)]
        if self._is_closed or size([*self.calls, call]) > MAX_BYTES:
            return False
        self.calls.append(call)
        return True

    def enqueue_reset(
        self,
        new_user: Mapping[str, Json],
        identifiers: Mapping[str, Json],
        reset_id: str,
        *,
        keep_calls: bool,
    ) -> bool:
        """Add a reset; return False if details had to be left out, because it must fit.

        ``identifiers`` are sent if the whole of ``new_user`` does not fit.
        ``keep_calls`` is True if the commands so far are for the new visitor. A
        double click makes two responses with one ``reset_id``, so that the page
        runs one reset.
        """
        # Commands for the earlier visitor run before the reset, those for the new
        # one after it.
        later = self.calls if keep_calls else []
        earlier = [] if keep_calls else self.calls
        no_details: Mapping[str, Json] = {}
        for details in (new_user, identifiers, no_details):
            reset = [reset_id, *self._function_and_arguments(ResetAuth(details))]
            if size([reset]) <= MAX_BYTES:
                break
        self.calls = [*earlier, reset, *later]
        return details is new_user

    def call(self, *call: Json) -> None:
        """Add a call of a function in the page; raises as :meth:`enqueue`."""
        if not self._enabled:
            return
        if not self._persistent:
            raise ConfigurationError(
                "secret_keys",
                "visitor.browser needs a key to sign with, such as "
                "secret_keys=('<16 characters or more>',), with the bridge as well: "
                "its commands may have to wait for the next page in a cookie",
            )
        if self._is_closed:
            if self._config.strict:
                raise InvalidCommand(
                    "browser", "must be used before the response starts: its page cannot change now"
                )
            logger.warning(
                "Dropping a browser command: the response has started, so its page cannot change",
                extra={"usercom_event": "browser_command_too_late"},
            )
            return
        self.calls.append([_new_id(), *call])

    def _function_and_arguments(self, command: Command) -> list[Json]:
        if isinstance(command, Event):
            return ["userengage", f"event.{command.name}", cast("Json", dict(command.data))]
        if isinstance(command, ProductEvent):
            return ["userengage", "product_event", cast("Json", command.payload())]
        if isinstance(command, Update):
            return ["userengage", "client.update", cast("Json", dict(command.attributes))]
        if isinstance(command, ResetAuth):
            # Without the app key, the SDK ignores the call.
            details = {**command.attributes, "apiKey": self._config.api_key}
            return [RESET, cast("Json", details)]
        return ["UE.pageHit", cast("Json", command.payload())]


def _new_id() -> str:
    return secrets.token_urlsafe(6)


def size(calls: Sequence[Sequence[object]]) -> int:
    """Return the bytes of these calls as JSON."""
    return len(json.dumps(calls, separators=(",", ":"))) if calls else 0


def limit(calls: Sequence[BrowserCall]) -> list[BrowserCall]:
    """Return the newest calls that a header or a cookie has room for.

    Resets stay, and so do commands of the visitor's own methods, whose receipts promise it.
    """
    kept: list[BrowserCall] = []
    room = MAX_BYTES - size([each for each in calls if _is_kept(each)])
    for call in reversed(calls):
        needed = 0 if _is_kept(call) else size([call])
        if needed <= room:
            room -= needed
            kept.append(call)
        elif needed <= MAX_BYTES:  # one that never fits leaves the room to the older ones
            room = 0
    return kept[::-1]


def _is_kept(call: BrowserCall) -> bool:
    return call[1] == RESET or str(call[0]).startswith(_KEPT)


def drop_before_reset(calls: Sequence[BrowserCall]) -> list[BrowserCall]:
    """Return the calls from the last reset on: those before it are for the earlier visitor."""
    resets = [n for n, each in enumerate(calls) if each[1] == RESET]
    return list(calls[resets[-1] :]) if resets else list(calls)


def split_initial_reset(
    calls: Sequence[BrowserCall],
) -> tuple[list[BrowserCall], Mapping[str, Json] | None]:
    """Return the calls without a reset at the start, and the attributes of that reset.

    A page that loads its widget does not repeat the reset: the cookie is gone, so the
    widget starts with a new visitor.
    """
    if not calls or calls[0][1] != RESET:
        return list(calls), None
    details = cast("dict[str, Json]", calls[0][2])
    return list(calls[1:]), {name: value for name, value in details.items() if name != "apiKey"}
