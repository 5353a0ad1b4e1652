"""``visitor.browser``: what a handler says to the page, for its widget to do."""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING, Any, cast

from ..core.commands import Event, EventType, PageHit, ProductEvent, ResetAuth, Update
from ..core.exceptions import ConfigurationError, InvalidCommand

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..core.commands import Command
    from ..core.config import UserComConfig
    from ..core.validation import Json
    from .signed_cookies import Said

#: Bytes of JSON that may wait for a page. A browser takes 4,096 for a cookie, signed and encoded; but nginx, as it comes, takes
#: 4,096 for all of a response's headers, and answers 502 to more.
LIMIT = 1_500
RESET = "UE.resetAuth"


class BrowserCommands:
    """The SDK's verbs and the widget's controls, for the page: they run there in order, each once, when the widget is ready.

    Said for a response that carries the snippet, they run in it; for one that does not (a redirect, JSON), on the next page
    that does; for htmx, or with the ``bridge``, in the page that asks. A page that is left before its widget is ready does not
    run them: what must not be lost is said by the visitor's own helpers.

    Nothing here is awaited. Everything raises :class:`~usercom_asgi.InvalidCommand` for what User.com could never take, for
    more than fits into a cookie, and after the response has begun; and :class:`~usercom_asgi.ConfigurationError` without
    ``secret_keys``.
    """

    def __init__(self, config: UserComConfig, *, persistent: bool, enabled: bool) -> None:
        self._config = config
        self._persistent = persistent
        self._enabled = enabled
        #: What this response says.
        self.said: list[Said] = []
        #: Bytes that wait from earlier responses.
        self.carried = 0
        #: The response has begun.
        self.response_started = False

    def event(self, name: str, /, **data: Any) -> None:
        """``userengage('event.NAME', {...})``."""
        self.enqueue(Event(name, data, truncate=self._config.truncate_strings))

    def product_event(
        self,
        product_id: str,
        event_type: EventType | str,
        *,
        name: str | None = None,
        description: str | None = None,
        custom_data: Mapping[str, object] | None = None,
        **attributes: Any,
    ) -> None:
        """``userengage('product_event', {...})``."""
        self.enqueue(
            ProductEvent(
                product_id,
                event_type,
                name,
                description,
                attributes,
                custom_data or {},
                truncate=self._config.truncate_strings,
            )
        )

    def page_hit(self, /, event: Event | None = None, **attributes: Any) -> None:
        """``UE.pageHit({...})``, of the address that the browser shows."""
        self.enqueue(PageHit(None, event, attributes, truncate=self._config.truncate_strings))

    def update(self, /, **attributes: Any) -> None:
        """``userengage('client.update', {...})``."""
        self.enqueue(Update(attributes, truncate=self._config.truncate_strings))

    def open(self) -> None:
        """Open the chat: ``userengage('widget.open')``."""
        self._add("userengage", "widget.open")

    def close(self) -> None:
        """Close the chat: ``userengage('widget.close')``."""
        self._add("userengage", "widget.close")

    def show(self) -> None:
        """Show the widget: ``userengage('widget.show')``."""
        self._add("userengage", "widget.show")

    def hide(self) -> None:
        """Hide the widget: ``userengage('widget.hide')``."""
        self._add("userengage", "widget.hide")

    def destroy(self) -> None:
        """Take the widget out of the page: ``UE.destroy()``. Nothing runs in that page after it."""
        self._add("UE.destroy")

    def enqueue(self, command: Command) -> None:
        """Say a command to the page."""
        self._add(*self._call(command))

    def put(self, command: Command) -> bool:
        """Say a command to the page if there is room: for what was said elsewhere, and is the page's to do."""
        return self._put(cast("Said", [_new_id(), *self._call(command)]))

    def reset(
        self, new_user: Mapping[str, Json], names: Mapping[str, Json], reset_id: str, *, keep: bool
    ) -> bool:
        """Say a reset, which always has room; false if something else has had to go.

        ``names`` are the details to fall back on; ``keep`` if what was said is meant for the new visitor. A reset that is said
        in two answers, since somebody has clicked twice, has one id: it is made once.
        """
        later = self.said if keep else []
        self.carried, self.said = 0, [] if keep else self.said
        fits = False
        nobody: Mapping[str, Json] = {}
        for details in (new_user, names, nobody):
            said = cast("Said", [reset_id, *self._call(ResetAuth(details))])
            fits = self._put(said)
            if fits:
                break
        else:
            self.said = [said]
        return all([details is new_user and fits, *(self._put(each) for each in later)])

    def _put(self, said: Said) -> bool:
        if self.response_started or not self._has_room_for(said):
            return False
        self.said.append(said)
        return True

    def _call(self, command: Command) -> list[object]:
        """Return the function that says it in the browser, and the arguments."""
        if isinstance(command, Event):
            return ["userengage", f"event.{command.name}", dict(command.data)]
        if isinstance(command, ProductEvent):
            return ["userengage", "product_event", command.payload()]
        if isinstance(command, Update):
            return ["userengage", "client.update", dict(command.attributes)]
        if isinstance(command, ResetAuth):
            return [
                RESET,
                {**command.attributes, "apiKey": self._config.api_key},
            ]  # without the key it does nothing
        return ["UE.pageHit", command.payload()]

    def _add(self, *call: object) -> None:
        if not self._enabled:
            return
        if not self._persistent:
            raise ConfigurationError(
                "secret_keys",
                "visitor.browser needs a key to sign with, such as secret_keys=('<16 characters or more>',), with the "
                "bridge as well: what it says may have to travel to the next page in a cookie",
            )
        if self.response_started:
            raise InvalidCommand(
                "browser", "the response has begun, so nothing can be said to its page any more"
            )
        said = cast("Said", [_new_id(), *call])
        if not self._has_room_for(said):
            raise InvalidCommand(
                "browser",
                f"more than {LIMIT} bytes would wait for the page; say it by the visitor's own helpers instead",
            )
        self.said.append(said)

    def _has_room_for(self, said: Said) -> bool:
        return self.carried + size([*self.said, said]) <= LIMIT


def _new_id() -> str:
    return secrets.token_urlsafe(6)


def size(said: Sequence[Sequence[object]]) -> int:
    """Return the bytes that this takes as JSON."""
    return len(json.dumps(said, separators=(",", ":"))) if said else 0


def drop_before_reset(said: Sequence[Said]) -> list[Said]:
    """Return what is said of the visitor who is there now: what comes before a reset was the last one's."""
    resets = [n for n, each in enumerate(said) if each[1] == RESET]
    return list(said[resets[-1] :]) if resets else list(said)


def split_initial_reset(said: Sequence[Said]) -> tuple[list[Said], Mapping[str, Json] | None]:
    """Return what a page says that is about to load its widget, and who a reset has said that the visitor is now.

    A reset is not repeated there: the cookie is gone, so its widget starts with a new visitor anyway.
    """
    if not said or said[0][1] != RESET:
        return list(said), None
    details = cast("dict[str, Json]", said[0][2])
    return list(said[1:]), {name: value for name, value in details.items() if name != "apiKey"}
