"""What a capture records: commands, browser commands and pages.

The ``repr`` of each shows values, unlike those of the library's own commands: they are
the values of a test.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..core.commands import Event, PageHit, ProductEvent, ResetAuth
from ..core.receipts import Status
from ..page.response import PageResponse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..core.commands import Command
    from ..core.receipts import Receipt
    from ..middleware.responder import Responder


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class CapturedCommand:
    """One command, and the person and the page that it is about.

    ``key`` is the user key of the browser, ``url`` the address of the page.
    ``by_widget`` is True for a reset, or a command after it, that the widget in the
    page makes. A command that would not be sent has the reason in ``reason``.
    """

    command: Command
    receipt: Receipt
    key: str | None = None
    user_id: str | None = None
    email: str | None = None
    url: str = ""
    by_widget: bool = False

    @property
    def name(self) -> str | None:
        """The name of an event; None for other commands."""
        return self.command.name if isinstance(self.command, Event) else None

    @property
    def data(self) -> Mapping[str, Any]:
        """The data of an event, or the attributes of another command."""
        if isinstance(self.command, Event):
            return self.command.data
        if isinstance(self.command, ProductEvent):
            return self.command.payload()
        return self.command.attributes

    @property
    def reason(self) -> str:
        """Why the command would not be sent; empty if it would."""
        return "" if self.is_sent else self.receipt.reason

    @property
    def is_sent(self) -> bool:
        """True if the command would reach User.com."""
        return self.by_widget or self.receipt.status is Status.DELIVERED

    def __repr__(self) -> str:
        return f"<{_describe(self.command)}{self._about()}>"

    def _about(self) -> str:
        parts = [
            f"user_id={self.user_id!r}" if self.user_id else "",
            f"email={self.email!r}" if self.email else "",
            f"key={self.key!r}" if self.key else "",
        ]
        who = ", ".join(filter(None, parts))
        where = f" on {self.url}" if self.url else ""
        how = ", left to the widget" if self.by_widget else ""
        return f"{f' of {who}' if who else ''}{where}{how}"


@dataclass(frozen=True, slots=True)
class CapturedBrowserCommand:
    """One call for the widget in the page, such as ``userengage("widget.open")``."""

    function: str
    arguments: tuple[Any, ...] = ()

    def __repr__(self) -> str:
        return f"<{self.function}({', '.join(map(repr, self.arguments))})>"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class CapturedPage:
    """One HTML response.

    ``identity`` holds the attributes that the page passes to the widget, ``calls`` the
    browser commands that it carries.
    """

    path: str
    method: str = "GET"
    status: int = 200
    identity: Mapping[str, Any] = field(default_factory=dict[str, Any])
    calls: tuple[CapturedBrowserCommand, ...] = ()
    plan_reason: str | None = None
    responder: Responder | None = field(default=None, compare=False)

    @property
    def skip_reason(self) -> str:
        """Why the page has no snippet; empty if it has one."""
        response = self.responder.page if self.responder is not None else None
        late = response.skip_reason if isinstance(response, PageResponse) else None
        return self.plan_reason or late or ""

    @property
    def has_snippet(self) -> bool:
        """True if the page carries the widget."""
        return not self.skip_reason

    def __repr__(self) -> str:
        what = f"no snippet: {self.skip_reason}" if self.skip_reason else "with the snippet"
        named = f", identity {dict(self.identity)}" if self.identity else ""
        return f"<page {self.method} {self.path}, {what}{named}>"


def _describe(command: Command) -> str:
    if isinstance(command, Event):
        return f"event {command.name!r} {_values(command.data)}"
    if isinstance(command, ProductEvent):
        values = command.payload()
        about = {name: v for name, v in values.items() if name not in ("product_id", "event_type")}
        return f"product event {command.product_id!r} {values['event_type']!r} {_values(about)}"
    kind = "page hit" if isinstance(command, PageHit) else "update"
    if isinstance(command, ResetAuth):
        kind = "reset"
    event = command.event if isinstance(command, PageHit) else None
    extra = f" with {_describe(event)}" if event is not None else ""
    return f"{kind} {_values(command.attributes)}{extra}"


def _values(values: Mapping[str, object]) -> str:
    return repr(dict(values))
