"""Assertions of a capture, whose failures show what was recorded instead."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..core.commands import Event, PageHit, ProductEvent, ResetAuth, Update
from ..core.config import DISABLED
from ..core.problems import did_you_mean
from ..core.validation import clean_data
from ..visitor.session import NO_KEY

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ..core.commands import EventType, EventTypeName
    from .records import CapturedBrowserCommand, CapturedCommand, CapturedPage

_REMEDIES = {
    DISABLED: "give the middleware a config that is switched on in tests, such as "
    "UserComConfig.sandbox()",
    NO_KEY: "name the user by identify(), or let the browser have a key: capture(app) without "
    "key=None, or client.cookies.set('__ca__chat', 'abc123')",
}


class Assertions:
    """The assertions. Each returns the command that it has found.

    Attributes that are given must be in the command, and others may be.
    """

    @property
    def commands(self) -> list[CapturedCommand]:
        """See :class:`Captured`."""
        raise NotImplementedError

    @property
    def skipped(self) -> list[CapturedCommand]:
        """See :class:`Captured`."""
        raise NotImplementedError

    @property
    def pages(self) -> list[CapturedPage]:
        """See :class:`Captured`."""
        raise NotImplementedError

    @property
    def browser_commands(self) -> list[CapturedBrowserCommand]:
        """See :class:`Captured`."""
        raise NotImplementedError

    def events(self, name: str | None = None) -> list[CapturedCommand]:
        """See :class:`Captured`."""
        raise NotImplementedError

    def assert_event(
        self, name: str, data: Mapping[str, object] | None = None, /, **more: Any
    ) -> CapturedCommand:
        """Assert that an event has this name and these attributes; return the first."""
        __tracebackhide__ = True
        wanted = Event(name, data, **more)
        found = self.events(wanted.name)
        hint = did_you_mean(wanted.name, {each.name or "" for each in self.events()})
        return self._first(found, wanted.data, f"event {wanted.name!r}", hint=hint)

    def assert_product_event(
        self,
        product_id: str,
        event_type: EventType | EventTypeName,
        /,
        **attributes: Any,
    ) -> CapturedCommand:
        """Assert that a product event has these values; return the first."""
        __tracebackhide__ = True
        wanted = ProductEvent(product_id, event_type)
        of_products = [each for each in self.commands if isinstance(each.command, ProductEvent)]
        found = [each for each in of_products if _names(each.data) == _names(wanted.payload())]
        hint = did_you_mean(product_id, {str(each.data["product_id"]) for each in of_products})
        what = f"product event {product_id!r} {str(wanted.event_type)!r}"
        is_same = hint.endswith(f"{product_id!r}?")
        return self._first(
            found, clean_data(attributes, "attributes"), what, hint="" if is_same else hint
        )

    def assert_page_hit(self, url: str | None = None, /, **attributes: Any) -> CapturedCommand:
        """Assert that a page hit has this URL and attributes; return the first."""
        __tracebackhide__ = True
        found = [each for each in self._all(PageHit) if url in (None, each.url)]
        wanted = PageHit(attributes=attributes).attributes
        return self._first(found, wanted, f"page hit {url}" if url else "page hit")

    def assert_update(self, **attributes: Any) -> CapturedCommand:
        """Assert that an update has these attributes; return the first."""
        __tracebackhide__ = True
        return self._first(self._all(Update), Update(attributes).attributes, "update")

    def assert_reset(self, **new_user: Any) -> CapturedCommand:
        """Assert a reset, to this new user if one is given; return the first."""
        __tracebackhide__ = True
        return self._first(self._all(ResetAuth), ResetAuth(new_user).attributes, "reset")

    def assert_nothing(self) -> None:
        """Assert that no command would be sent; skipped ones and pages do not count."""
        __tracebackhide__ = True
        self._check_enabled()
        if self.commands or self.browser_commands:
            raise AssertionError(self._explain("a command was recorded"))

    def _all(self, kind: type[Any]) -> list[CapturedCommand]:
        return [each for each in self.commands if isinstance(each.command, kind)]

    def _first(
        self,
        found: Sequence[CapturedCommand],
        wanted: Mapping[str, object],
        what: str,
        *,
        hint: str = "",
    ) -> CapturedCommand:
        __tracebackhide__ = True
        self._check_enabled()
        for each in found:
            if all(name in each.data and each.data[name] == v for name, v in wanted.items()):
                return each
        values = ", ".join(f"{name}={value!r}" for name, value in wanted.items())
        if found:
            names = {name for each in found for name in each.data}
            unknown = (did_you_mean(name, names) for name in wanted if name not in names)
            hint = next(filter(None, unknown), "")
        missing = f"no {what}{f' with {values}' if values else ''} was recorded{hint}"
        raise AssertionError(self._explain(missing))

    def _check_enabled(self) -> None:
        __tracebackhide__ = True
        if any(each.reason == DISABLED for each in self.skipped):
            raise AssertionError(self._explain("nothing is sent in this test"))

    def _explain(self, headline: str) -> str:
        return "\n".join([headline, *self._report()])

    def _report(self) -> Iterable[str]:
        yield "recorded:" if self.commands else "recorded: no command"
        yield from (f"  {each!r}" for each in self.commands)
        if self.browser_commands:
            yield "for the widget in the page:"
            yield from (f"  {each!r}" for each in self.browser_commands)
        if self.skipped:
            yield "skipped:"
        for each in self.skipped:
            yield f"  {each!r}: {each.reason}"
        for reason in dict.fromkeys(each.reason for each in self.skipped):
            if reason in _REMEDIES:
                yield f"remedy: {_REMEDIES[reason]}"
        if self.pages:
            yield "pages:"
            yield from (f"  {each!r}" for each in self.pages)


def _names(data: Mapping[str, Any]) -> tuple[Any, Any]:
    return data["product_id"], data["event_type"]
