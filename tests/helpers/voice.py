"""Counts the words of this project's voice in comments and docstrings.

``python tests/helpers/voice.py`` prints a table by room; ``--list`` adds each place of a counted word.
Only prose counts: comments (``tokenize``) and docstrings (``ast``). Text in double backticks and
the marks for checkers (``noqa``, ``type:``, ``fmt:``) are not prose.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections import defaultdict
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PACKAGE = Path(__file__).parents[2] / "usercom_asgi"
#: The counted words, by group.
WORDS = {
    "say": frozenset({"say", "says", "said", "saying", "unsaid"}),
    "tell": frozenset({"tell", "tells", "told", "telling"}),
    "narrators": frozenset({"somebody", "nobody", "whoever", "somebody's", "nobody's"}),
}
_CODE = re.compile(r"``.*?``|:[a-z]+:`[^`]*`", re.DOTALL)
_MARKS = re.compile(r"#\s*(?:noqa|type:|fmt:|pragma|pyright:)\S*(?:\s*[A-Z]+[0-9]+,?)*")
_WORD = re.compile(r"[A-Za-z][A-Za-z'’-]*")


@dataclass
class Count:
    """Words of one room and the counted words among them."""

    words: int = 0
    found: dict[str, int] = field(default_factory=lambda: dict.fromkeys(WORDS, 0))

    def per_thousand(self, group: str) -> float:
        return 1000 * self.found[group] / self.words if self.words else 0.0

    def add(self, other: Count) -> None:
        self.words += other.words
        for group, number in other.found.items():
            self.found[group] += number


def prose(source: str) -> Iterator[tuple[int, str]]:
    """Yield line number and text of each comment and docstring."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], _MARKS.sub("", token.string).lstrip("#:! ")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node, clean=False)
            if text is not None:
                yield node.body[0].lineno, text


def words(text: str) -> list[str]:
    """Return the words of a text in lower case, without code."""
    return [word.lower() for word in _WORD.findall(_CODE.sub(" ", text))]


def room_of(path: Path) -> str:
    """Return the folder of the package that a module is in, or its own name."""
    parts = path.relative_to(PACKAGE).parts
    return parts[0] if len(parts) > 1 else path.stem


def room_names() -> list[str]:
    """Return the rooms of the package, without reading their files."""
    return sorted({room_of(path) for path in PACKAGE.rglob("*.py")})


def count(source: str) -> Count:
    result = Count()
    for _, text in prose(source):
        found = words(text)
        result.words += len(found)
        for group, counted in WORDS.items():
            result.found[group] += sum(word in counted for word in found)
    return result


@cache
def count_rooms() -> dict[str, Count]:
    """Count each room of the package."""
    rooms: dict[str, Count] = defaultdict(Count)
    for path in sorted(PACKAGE.rglob("*.py")):
        rooms[room_of(path)].add(count(path.read_text()))
    return dict(rooms)


def total(rooms: Iterable[Count]) -> Count:
    result = Count()
    for each in rooms:
        result.add(each)
    return result


def places() -> Iterator[str]:
    """Yield each counted word with its file and line."""
    every = frozenset[str]().union(*WORDS.values())
    for path in sorted(PACKAGE.rglob("*.py")):
        for first, text in prose(path.read_text()):
            for offset, line in enumerate(_blank_code(text).splitlines()):
                for word in filter(every.__contains__, words(line)):
                    yield f"{path.relative_to(PACKAGE.parent)}:{first + offset}: {word}"


def _blank_code(text: str) -> str:
    """Blank out code and keep the line breaks in it."""
    return _CODE.sub(lambda match: "\n" * match[0].count("\n"), text)


def main(arguments: list[str]) -> None:
    rooms = count_rooms()
    print(f"{'room':14}{'words':>8}" + "".join(f"{group:>12}" for group in WORDS))
    for name, each in [*sorted(rooms.items()), ("package", total(rooms.values()))]:
        figures = (f"{each.found[g]:5} {each.per_thousand(g):6.2f}" for g in WORDS)
        print(f"{name:14}{each.words:8}" + "".join(figures))
    if "--list" in arguments:
        print("\n".join(places()))


if __name__ == "__main__":
    main(sys.argv[1:])
