"""The verbs of the SDK, awaited (``visitor.event``) and plain (``visitor.sync.event``)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from ..core.commands import Event, PageHit, ProductEvent, ResetAuth, Update
from ..core.event_loops import run_from_any_loop, run_in_loop
from ..core.exceptions import InvalidValue
from ..core.problems import report_skipped
from ..core.receipts import Receipt, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from ..core.commands import Command, EventType, EventTypeName


def make_command(make: Callable[[], Command], *, strict: bool) -> Command | Receipt:
    """Return a command, or the receipt of one that cannot be made from a visitor's data.

    Raises:
        InvalidCommand: The call is wrong, or ``strict`` is set and a value is.

    """
    try:
        return make()
    except InvalidValue as error:
        if strict:
            raise
        report_skipped(error)
        return Receipt(Status.SKIPPED, str(error))


class VisitorVerbs:
    """The verbs of one person. Each returns a :class:`~usercom_asgi.Receipt`.

    A mistake of the code raises :class:`~usercom_asgi.InvalidCommand`: a wrong type, an
    unknown event type, a reserved name, a datetime without a time zone. A value that
    may come from a visitor does not raise: it is truncated or left out, with one line
    in the log. With ``UserComConfig(strict=True)`` it raises as well.
    """

    __slots__ = ()

    async def event(
        self, name: str, data: Mapping[str, object] | None = None, /, **more: Any
    ) -> Receipt:
        """Record an event: ``userengage('event.NAME', {...})``.

        ``event("renewed", {"plan": "gold"})`` and ``event("renewed", plan="gold")``
        are the same.

        Raises:
            InvalidCommand: A value has a wrong type.

        """
        return await self._perform(partial(Event, name, data, **more))

    async def product_event(
        self,
        product_id: str,
        event_type: EventType | EventTypeName,
        *,
        name: str | None = None,
        description: str | None = None,
        custom_data: Mapping[str, object] | None = None,
        **attributes: Any,
    ) -> Receipt:
        """Record what happened to a product: ``userengage('product_event', {...})``.

        Raises:
            InvalidCommand: The type is not one of the sixteen, or a value has
                a wrong type.

        """
        return await self._perform(
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

    async def update(self, /, **attributes: Any) -> Receipt:
        """Change attributes without a page view: ``userengage('client.update', {...})``.

        None is left out, and clears nothing.

        Raises:
            InvalidCommand: A name is reserved or a value has a wrong type.

        """
        return await self._perform(partial(Update, attributes))

    async def page_hit(
        self, /, url: str | None = None, event: Event | None = None, **attributes: Any
    ) -> Receipt:
        """Record a page view: ``UE.pageHit({...})``.

        Raises:
            InvalidCommand: A name is reserved or a value has a wrong type.

        """
        return await self._perform(partial(PageHit, url, event, attributes))

    async def reset_auth(self, /, **new_user: Any) -> Receipt:
        """Create a new visitor with these attributes: ``UE.resetAuth({...})``.

        Raises:
            InvalidCommand: A name is reserved or a value has a wrong type.

        """
        return await self._perform(partial(ResetAuth, new_user))

    @property
    def sync(self) -> SyncVerbs:
        """The same verbs for plain ``def`` handlers and other threads: they are not awaited."""
        return SyncVerbs(self, self._loop)

    async def _perform(self, make: Callable[[], Command]) -> Receipt:
        command = make_command(make, strict=self._strict)
        if isinstance(command, Receipt):
            return command
        return await run_from_any_loop(self._loop, partial(self._send, command))

    async def _send(self, command: Command) -> Receipt:
        raise NotImplementedError

    @property
    def _strict(self) -> bool:
        raise NotImplementedError

    @property
    def _loop(self) -> object | None:
        raise NotImplementedError


class SyncVerbs:
    """The verbs of a visitor for threads: ``visitor.sync.event("renewed", plan="gold")``.

    They work in any thread but that of the event loop, also in threads that the
    framework has started without anyio.
    """

    __slots__ = ("_loop", "_verbs")

    def __init__(self, verbs: VisitorVerbs, loop: object | None) -> None:
        self._verbs = verbs
        self._loop = loop

    def event(self, name: str, data: Mapping[str, object] | None = None, /, **more: Any) -> Receipt:
        """See :meth:`VisitorVerbs.event`."""
        return self._run("event", partial(self._verbs.event, name, data, **more))

    def product_event(
        self,
        product_id: str,
        event_type: EventType | EventTypeName,
        *,
        name: str | None = None,
        description: str | None = None,
        custom_data: Mapping[str, object] | None = None,
        **attributes: Any,
    ) -> Receipt:
        """See :meth:`VisitorVerbs.product_event`."""
        return self._run(
            "product_event",
            partial(
                self._verbs.product_event,
                product_id,
                event_type,
                name=name,
                description=description,
                custom_data=custom_data,
                **attributes,
            ),
        )

    def update(self, /, **attributes: Any) -> Receipt:
        """See :meth:`VisitorVerbs.update`."""
        return self._run("update", partial(self._verbs.update, **attributes))

    def page_hit(
        self, /, url: str | None = None, event: Event | None = None, **attributes: Any
    ) -> Receipt:
        """See :meth:`VisitorVerbs.page_hit`."""
        return self._run("page_hit", partial(self._verbs.page_hit, url, event, **attributes))

    def reset_auth(self, /, **new_user: Any) -> Receipt:
        """See :meth:`VisitorVerbs.reset_auth`."""
        return self._run("reset_auth", partial(self._verbs.reset_auth, **new_user))

    def _run(self, verb: str, call: Callable[[], Coroutine[Any, Any, Receipt]]) -> Receipt:
        return run_in_loop(self._loop, call, verb)
