"""The pages of the documentation, and their blocks of code."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
REPOSITORY = "https://github.com/usercom-asgi/usercom-asgi"
SITE = "https://usercom-asgi.github.io/usercom-asgi/"
PAGES = {
    path: path.read_text()
    for path in [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md"))]
}
_BLOCK = re.compile(
    r"^(?:<!-- not run[^:\n]*: (?P<reason>[^\n]+?) -->\n)?```(?P<language>[^\n]*)\n(?P<code>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
# The first line of a block that is a file names it, as a comment.
_FILE = re.compile(r"(?:#|<!--) ([\w./-]*\.[a-z]+)(?: -->)?\n")


@dataclass(frozen=True)
class Block:
    page: Path
    line: int
    language: str
    code: str
    #: Why it does not run.
    reason: str | None

    @property
    def file(self) -> str | None:
        found = _FILE.match(self.code)
        return found and found[1]

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks_of(page: Path) -> list[Block]:
    text = PAGES[page]
    return [
        Block(
            page,
            text.count("\n", 0, found.start("code")),
            found["language"],
            found["code"],
            found["reason"],
        )
        for found in _BLOCK.finditer(text)
    ]


def write_files(blocks: list[Block], folder: Path) -> None:
    """Write the blocks that are files; of two with one name, the later one."""
    for block in blocks:
        if block.file:
            path = folder / block.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.code)


def page_of(address: str) -> Path | None:
    """Return the file that an address of the site or the repository stands for."""
    address = address.partition("#")[0]
    if address.startswith(SITE):
        name = address.removeprefix(SITE).strip("/")
        return DOCS / (f"{name}.md" if name else "index.md")
    for kind in ("blob/main/", "tree/main/"):
        if address.startswith(f"{REPOSITORY}/{kind}"):
            return ROOT / address.removeprefix(f"{REPOSITORY}/{kind}")
    raw = "https://raw.githubusercontent.com/usercom-asgi/usercom-asgi/main/"
    return ROOT / address.removeprefix(raw) if address.startswith(raw) else None
