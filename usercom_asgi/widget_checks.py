"""How the widget shows itself, and which of the page's own functions it calls."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

#: User.com's developer guide, "widget callbacks".
CALLBACKS = ("onLoad", "onPayloadReceived", "onMessage", "onOpen", "onClose")

_PATH = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*(?:\.[A-Za-z_$][A-Za-z0-9_$]*)*")
# They turn a string into code: what the widget hands a callback would become it.
_CODE = frozenset({"eval", "Function", "setTimeout", "setInterval", "setImmediate", "execScript", "importScripts"})
# The ways to reach them, and to change every object of the page.
_ROOTS = frozenset({"constructor", "prototype", "__proto__"})


class WidgetState(StrEnum):
    """How the widget appears on page load (user.com, "JavaScript integration"; ``expanded`` by the vendor's GTM template)."""

    SIMPLE = "simple"
    STANDARD = "standard"
    HIDDEN = "hidden"
    EXPANDED = "expanded"


def check_state(value: str) -> str:
    """Return a state as the widget takes it.

    Raises:
        ValueError: There is no such state.

    """
    try:
        return WidgetState(value).value
    except ValueError:
        raise ValueError(f"must be one of: {', '.join(WidgetState)}") from None


def check_callbacks(given: Mapping[str, str]) -> Mapping[str, str]:
    """Return callbacks that name functions of the page, and hold no code.

    Raises:
        ValueError: A callback does not exist, or what it names is no dotted path such as ``"shop.chat.opened"``.

    """
    if not isinstance(given, Mapping):
        raise ValueError("must be a mapping, such as {'onOpen': 'shop.chat.opened'}")  # noqa: TRY004
    for name, path in given.items():
        if name not in CALLBACKS:
            raise ValueError(f"there are only: {', '.join(CALLBACKS)}")
        if not isinstance(path, str) or not _PATH.fullmatch(path):
            raise ValueError(f"{name} must be the dotted path of a function on the page, such as 'shop.chat.opened'")
        if (_CODE | _ROOTS).intersection(path.split(".")):
            raise ValueError(f"{name} must be a function of your own: {path} makes code of what it is given")
    return MappingProxyType(dict(given))
