"""How the widget appears in one response."""

from __future__ import annotations

from .errors import InvalidCommand
from .widget_checks import check_state


class Appearance:
    """How the widget shows itself in one response, if it does."""

    _widget_state: str | None = None
    #: No snippet will go into this response.
    is_suppressed = False

    @property
    def widget_state(self) -> str | None:
        """How the widget appears in this response: ``simple``, ``standard``, ``hidden``, ``expanded``; None as configured."""
        return self._widget_state

    @widget_state.setter
    def widget_state(self, state: str | None) -> None:
        try:
            self._widget_state = None if state is None else check_state(state)
        except ValueError as error:
            raise InvalidCommand("widget_state", str(error)) from None

    def suppress(self) -> None:
        """Leave the snippet out of this response."""
        self.is_suppressed = True
