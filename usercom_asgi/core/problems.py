"""Repairs of commands whose values depend on what a visitor has entered."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from .exceptions import InvalidValue
from .log import warn_once
from .text import shown_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: The repairs of one command.
Problems: TypeAlias = "list[InvalidValue]"

_SHOWN = 3


def repair(problems: Problems | None, error: InvalidValue) -> None:
    """Note a repair; without a list, raise its error."""
    if problems is None:
        raise error
    # Its traceback would keep the values alive for as long as the command waits.
    problems.append(error.with_traceback(None))


def report(command: str, problems: Sequence[InvalidValue], *, strict: bool) -> None:
    """Log the repairs of a command in one line, without values.

    Raises:
        InvalidCommand: If ``strict``, the first problem.

    """
    if not problems:
        return
    if strict:
        first = problems[0]
        raise InvalidValue(first.field, first.problem, first.effect)
    # Without the length of the value, so that one kind of problem is one line.
    lines = [
        f"{shown_name(each.field)} is {each.effect}, "
        f"because it {each.problem.partition(', got ')[0]}"
        for each in problems
    ]
    if len(lines) > _SHOWN:
        lines[_SHOWN:] = [f"and {len(lines) - _SHOWN} more"]
    # As ASCII, because visitors may choose the names within an event's data.
    text = f"{command}: {'; '.join(lines)}".encode("ascii", "backslashreplace").decode()
    warn_once("value_repaired", text)


def report_skipped(error: InvalidValue) -> None:
    """Log that a command is skipped, because its value cannot be left out."""
    warn_once(
        "command_unusable",
        f"Skipping a command: {shown_name(error.field)} {error.problem.partition(', got ')[0]}",
    )


def did_you_mean(given: object, known: Iterable[str]) -> str:
    """Return the end of an error's text that names the most similar known value."""
    # Only an error needs it, and it takes time to load.
    from difflib import get_close_matches

    found = get_close_matches(given, list(known), 1) if isinstance(given, str) else []
    return f"; did you mean {found[0]!r}?" if found else ""
