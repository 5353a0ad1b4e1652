"""Tables of the benchmarks, printed and written into `docs/measurements.md`.

A table stands there between ``<!-- bench: NAME -->`` and ``<!-- end -->``. The text
around it is written by hand.
"""

from __future__ import annotations

import argparse
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

DOCUMENT = Path(__file__).parent.parent / "docs" / "measurements.md"
#: The names of all tables.
TABLES = ("requests", "instructions", "pages", "page-instructions", "calls", "delivery")


class Report:
    """The tables of one run; ``document`` is None if they are only printed."""

    def __init__(self, document: Path | None = None) -> None:
        self.document = document

    def add(
        self, name: str, title: str, head: Sequence[str], rows: Iterable[Sequence[str]]
    ) -> None:
        """Print a table, and write it into the document."""
        if name not in TABLES:
            raise ValueError(f"no table is named {name!r}")
        lines = [_row(head), "|---|" + "---:|" * (len(head) - 1), *map(_row, rows)]
        print(f"\n### {title}\n", *lines, sep="\n", flush=True)
        if self.document is not None:
            text = self.document.read_text()
            dated = "\n".join([*lines, "", f"{datetime.now(UTC):%Y-%m-%d}, `make bench`."])
            self.document.write_text(replaced(text, name, dated))


def replaced(text: str, name: str, table: str) -> str:
    """Return a document with another content of one table.

    Raises:
        ValueError: The document has not exactly one place for it.

    """
    place = re.compile(rf"(<!-- bench: {name} -->\n)(.*?)(<!-- end -->)", re.DOTALL)
    text, count = place.subn(lambda found: f"{found[1]}\n{table}\n\n{found[3]}", text)
    if count != 1:
        raise ValueError(f"{count} places for the table {name!r}, there must be one")
    return text


def parser(program: str) -> argparse.ArgumentParser:
    """Return the arguments that each program has."""
    found = argparse.ArgumentParser(prog=f"python -m {program}")
    found.add_argument("--write", action="store_true", help=f"write into docs/{DOCUMENT.name}")
    return found


def report_for(arguments: argparse.Namespace) -> Report:
    """Return the report that the arguments ask for."""
    return Report(DOCUMENT if arguments.write else None)


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
