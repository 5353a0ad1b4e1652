"""The result of a capture: :class:`Captured`."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, Any

from ..core.commands import Event, PageHit, ProductEvent, ResetAuth, Update
from ..core.user_key import is_user_key
from .assertions import Assertions
from .records import CapturedBrowserCommand, CapturedCommand, CapturedPage

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from ..core.commands import Command, EventType, EventTypeName
    from ..core.envelope import Envelope, PendingReset
    from ..core.receipts import Receipt
    from ..visitor.browser import BrowserCall
    from .session import RecordingSession

#: The key of a browser that has loaded a page before.
BROWSER_KEY = "browser00001"


class Captured(Assertions):
    """What the application has sent to User.com, or would have.

    Requests without the cookie ``__ca__chat`` get :attr:`key`, as from a browser whose
    widget has run on an earlier page. With ``key=None`` they are first visits.
    """

    def __init__(self, key: str | None = BROWSER_KEY) -> None:
        if key is not None and not is_user_key(key):
            raise ValueError("key must be None or a user key: 1 to 64 ASCII letters and digits")
        #: The key of browsers that send none; None for none.
        self.key = key
        self._records: list[CapturedCommand] = []
        self._pages: list[CapturedPage] = []
        self._sessions: list[RecordingSession] = []
        self._cleared_calls = set[str]()
        self._numbers = count(1)
        self._keys: dict[object, str] = {}
        #: Resets by their names, for later requests.
        self.pending_resets: dict[str, PendingReset] = {}

    def __repr__(self) -> str:
        return f"<Captured {len(self.commands)} commands, {len(self.skipped)} skipped>"

    @property
    def commands(self) -> list[CapturedCommand]:
        """The commands that would be sent, in order."""
        return [each for each in self._records if each.is_sent]

    @property
    def skipped(self) -> list[CapturedCommand]:
        """The commands that would not be sent; each has its ``reason``."""
        return [each for each in self._records if not each.is_sent]

    def events(self, name: str | None = None) -> list[CapturedCommand]:
        """Return the events with this name, or all; also those of page hits."""
        wanted = name.removeprefix("event.") if name is not None else None
        return [each for each in _events(self.commands) if wanted in (None, each.name)]

    def product_events(
        self, event_type: EventType | EventTypeName | None = None
    ) -> list[CapturedCommand]:
        """Return the product events of this type, or all."""
        return [
            each
            for each in self.commands
            if isinstance(each.command, ProductEvent)
            and event_type in (None, each.command.event_type)
        ]

    @property
    def page_hits(self) -> list[CapturedCommand]:
        """The page hits."""
        return self._of(PageHit)

    @property
    def updates(self) -> list[CapturedCommand]:
        """The updates of attributes."""
        return self._of(Update)

    @property
    def resets(self) -> list[CapturedCommand]:
        """The resets to a new visitor, also those that the widget in the page makes."""
        return self._of(ResetAuth)

    @property
    def pages(self) -> list[CapturedPage]:
        """The HTML responses, with the snippet or without."""
        return list(self._pages)

    @property
    def browser_commands(self) -> list[CapturedBrowserCommand]:
        """The calls of ``visitor.browser``, and those of a reset in the page."""
        return as_browser_commands(
            call for call in self._calls() if str(call[0]) not in self._cleared_calls
        )

    def clear(self) -> None:
        """Forget all that was recorded."""
        self._cleared_calls |= {str(call[0]) for call in self._calls()}
        self._sessions = [each for each in self._sessions if not each.is_closed]
        self._records.clear()
        self._pages.clear()
        self.pending_resets.clear()

    # For the recording parts.

    def add(self, envelope: Envelope, receipt: Receipt) -> None:
        """Record a command on its way."""
        hit_url = envelope.command.url if isinstance(envelope.command, PageHit) else None
        self.add_command(
            envelope.command,
            receipt,
            key=envelope.key,
            identity=envelope.identity,
            url=hit_url or envelope.page.url,
        )

    def add_command(
        self,
        command: Command,
        receipt: Receipt,
        *,
        key: str | None = None,
        identity: Mapping[str, Any] | None = None,
        url: str = "",
        by_widget: bool = False,
    ) -> None:
        """Record a command with the person that it is about."""
        named = identity or {}
        self._records.append(
            CapturedCommand(
                command=command,
                receipt=receipt,
                key=key,
                user_id=named.get("user_id"),
                email=named.get("email"),
                url=url,
                by_widget=by_widget,
            )
        )

    def add_page(self, page: CapturedPage) -> None:
        """Record an HTML response."""
        self._pages.append(page)

    def add_session(self, session: RecordingSession) -> None:
        """Record the visitor of a request, for the commands to its page."""
        self._sessions.append(session)

    def new_key(self) -> str:
        """Return the key of a visitor that User.com creates."""
        return f"created{next(self._numbers):05}"

    def key_for(self, identity: Mapping[str, object]) -> str:
        """Return the key of a person without one, the same for each command."""
        named = str(sorted(identity.items()))
        if named not in self._keys:
            self._keys[named] = self.new_key()
        return self._keys[named]

    def _of(self, kind: type[Command]) -> list[CapturedCommand]:
        return [each for each in self.commands if isinstance(each.command, kind)]

    def _calls(self) -> Iterator[BrowserCall]:
        for session in self._sessions:
            yield from session.own_browser_calls()


def as_browser_commands(calls: Iterable[BrowserCall]) -> list[CapturedBrowserCommand]:
    """Return calls for the page as records, without their ids."""
    return [CapturedBrowserCommand(str(name), tuple(rest)) for _, name, *rest in calls]


def _events(records: Iterable[CapturedCommand]) -> Iterator[CapturedCommand]:
    for each in records:
        event = each.command.event if isinstance(each.command, PageHit) else each.command
        if isinstance(event, Event):
            yield replace(each, command=event)
