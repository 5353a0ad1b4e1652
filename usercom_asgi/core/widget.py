"""Settings of the widget: its state and its callbacks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from .problems import did_you_mean

#: Callbacks of the widget (User.com's developer guide, "widget callbacks").
CALLBACKS = ("onLoad", "onPayloadReceived", "onMessage", "onOpen", "onClose")

_PATH = r"[A-Za-z_$][A-Za-z0-9_$]*(?:\.[A-Za-z_$][A-Za-z0-9_$]*)*"
# Functions that run a string as code: here, the string that the widget passes.
_CODE = frozenset(
    {"eval", "Function", "setTimeout", "setInterval", "setImmediate", "execScript", "importScripts"}
)
# Names that lead to those functions, or to the prototype of every object of the page.
_ROOTS = frozenset({"constructor", "prototype", "__proto__"})


class WidgetState(StrEnum):
    """How the widget appears on page load.

    Documented in "JavaScript integration"; ``expanded`` is from the vendor's template
    for Google Tag Manager.
    """

    SIMPLE = "simple"
    STANDARD = "standard"
    HIDDEN = "hidden"
    EXPANDED = "expanded"


def check_state(value: str) -> str:
    """Return the widget's name of a state.

    Raises:
        ValueError: If the state is unknown.

    """
    try:
        return WidgetState(value).value
    except ValueError:
        hint = did_you_mean(value, [each.value for each in WidgetState])
        raise ValueError(f"must be one of: {', '.join(WidgetState)}{hint}") from None


def check_callbacks(given: Mapping[str, str]) -> Mapping[str, str]:
    """Return callbacks after a check that they name functions of the page.

    Raises:
        ValueError: If a callback is unknown, or its value is not a dotted path
            such as ``"shop.chat.opened"``.

    """
    if not isinstance(given, Mapping):
        raise ValueError("must be a mapping, such as {'onOpen': 'shop.chat.opened'}")  # noqa: TRY004
    for name, path in given.items():
        if name not in CALLBACKS:
            hint = did_you_mean(name, CALLBACKS)
            raise ValueError(f"must have only these names: {', '.join(CALLBACKS)}{hint}")
        if not isinstance(path, str) or not re.fullmatch(_PATH, path):
            raise ValueError(
                f"{name} must be the dotted path of a function, such as 'shop.chat.opened'"
            )
        if (_CODE | _ROOTS).intersection(path.split(".")):
            raise ValueError(
                f"{name} must be a function of your own, {path} would run its argument as code"
            )
    return MappingProxyType(dict(given))
