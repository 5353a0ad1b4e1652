"""The tables of docs/matrix.md."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from matrix.checks import CHECKS
from matrix.subjects import FRAMEWORKS, SERVERS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from matrix.subjects import Subject

PAGE = Path(__file__).parents[1] / "docs" / "matrix.md"
BEGIN, END = "<!-- begin: make matrix -->", "<!-- end: make matrix -->"


def write(results: Mapping[str, Mapping[str, str]]) -> None:
    """Replace the tables between the markers of the page."""
    text = PAGE.read_text()
    before, after = text[: text.index(BEGIN)], text[text.index(END) :]
    PAGE.write_text(f"{before}{BEGIN}\n\n{render(results)}\n\n{after}")


def render(results: Mapping[str, Mapping[str, str]]) -> str:
    """Return the tables of servers and frameworks, with footnotes."""
    notes: list[str] = []
    return ""
