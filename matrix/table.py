"""The tables of docs/matrix.md."""

from __future__ import annotations

import platform
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from matrix.checks import CHECKS
from matrix.subjects import FRAMEWORKS, SERVERS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from matrix.subjects import Subject

    Results = Mapping[str, Mapping[str, str]]

PAGE = Path(__file__).parents[1] / "docs" / "matrix.md"
BEGIN, END = "<!-- begin: make matrix -->", "<!-- end: make matrix -->"


class Footnotes:
    """Texts below the tables, each once."""

    def __init__(self) -> None:
        self._texts: list[str] = []

    def mark(self, text: str | None) -> str:
        """Return the reference to a text, which is empty without one."""
        if text is None:
            return ""
        if text not in self._texts:
            self._texts.append(text)
        return f"[^{self._texts.index(text) + 1}]"

    def lines(self) -> Iterator[str]:
        for n, text in enumerate(self._texts, 1):
            yield f"[^{n}]: {text}"


def write(results: Results) -> None:
    """Replace the tables between the markers of the page."""
    text = PAGE.read_text()
    before, after = text[: text.index(BEGIN)], text[text.index(END) :]
    PAGE.write_text(f"{before}{BEGIN}\n\n{render(results)}\n\n{after}")


def render(results: Results) -> str:
    """Return the tables of servers and frameworks, with footnotes."""
    notes = Footnotes()
    lines = [
        f"Python {platform.python_version()}, Starlette {version('starlette')}, anyio {version('anyio')}.",
        "",
        "### Servers, with a Starlette application",
        "",
        *_table(SERVERS, results, notes),
        "",
        "### Frameworks, on uvicorn",
        "",
        *_table(FRAMEWORKS, results, notes),
        "",
        *notes.lines(),
    ]
    return "\n".join(lines)


def _table(subjects: Iterable[Subject], results: Results, notes: Footnotes) -> Iterator[str]:
    yield "| | " + " | ".join(CHECKS) + " |"
    yield "|---|" + ":-:|" * len(CHECKS)
    for subject in subjects:
        failures = results[subject.name]
        cells = [_cell(subject, name, failures.get(name), notes) for name in CHECKS]
        versions = ", ".join(f"{each} {version(each)}" for each in subject.packages)
        title = f"{subject.name}<br>{versions}" if versions else subject.name
        yield f"| {title} | " + " | ".join(cells) + " |"


def _cell(subject: Subject, name: str, failure: str | None, notes: Footnotes) -> str:
    if name in subject.left_out:
        return f"–{notes.mark(subject.left_out[name])}"
    if failure is not None:
        return f"✗{notes.mark(subject.known.get(name, 'Unexpected: ' + failure))}"
    return f"✓{notes.mark(subject.remarks.get(name, subject.known.get(name)))}"
