"""Random documents, judged by Chromium: with the snippet a document is what it was, but for the snippet's nodes.

`python -m tests.page.judge COUNT SEED` prints what was judged, and exits 1 if a document came out wrong.
"""

from __future__ import annotations

import random
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from usercom_asgi.page.injector import Injector, Skipped, inject

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

ADDED = b'<script class="added">"</b" + "ody>"</script><script class="added" type="text/x" src="/added.js"></script>'
# So many are compared at a time.
PAIRS = 250
SHAPES = """(pairs) => pairs.map(([before, after]) => {
  const frame = document.createElement("iframe");
  document.body.append(frame);
  const shape = (html) => {
    const page = frame.contentDocument;
    page.open(); page.write(html); page.close();
    let added = 0;
    const out = [];
    const walk = (node, depth) => {
      let text = "";
      const flush = () => { if (text) out.push(depth + "#" + text); text = ""; };
      for (const each of node.childNodes) {
        if (each.nodeType === 3) { text += each.data; continue; }
        if (each.nodeType === 1 && each.getAttribute("class") === "added" && each.localName === "script"
            && each.namespaceURI === "http://www.w3.org/1999/xhtml") { added++; continue; }
        flush();
        if (each.nodeType === 1) {
          const attributes = [...each.attributes].map((a) => [a.name, a.value]).sort();
          out.push(depth + each.namespaceURI.slice(-6) + ":" + each.localName + JSON.stringify(attributes));
          walk(each, depth + 1);
          if (each.content && each.localName === "template") walk(each.content, depth + 1000);
        } else out.push(depth + each.nodeName + (each.data || each.name));
      }
      flush();
    };
    walk(page, 0);
    return [added, out.join("\\n")];
  };
  const [none, was] = shape(before), [added, is] = shape(after);
  frame.remove();
  return none !== 0 ? "the document holds an added node" : added !== 2 ? "added: " + added : was !== is ? "another tree" : "";
})"""

NAMES = (
    "script style title textarea template noscript iframe noembed noframes xmp svg math table tr td col colgroup select option"
    " p div b a i form button li ul h1 foreignObject desc font mi mo mtext annotation-xml path g image span label object"
    " caption head body html"
    " br img input center tbody mglyph"
).split()
ODD = (
    "<!-- --> --!> <!--> <!---> <!--! <! <? </ </> < > \" ' = x <a\thref=\" <b\ttitle='x'> <i\tx=y> <![CDATA[ ]]>"
    " <title/> <script/> <svg/> <path/> <path\ta=/> </body> </body> </BODY> </body\t> </html> <html> <body>"
    " <font\tcolor=red> <font\tx=1> <annotation-xml\tencoding=text/html>"
    ' <annotation-xml\tencoding="application/xhtml+xml"> <script><!-- <script> </script --'
    ' </br> </p> <strong> <plaintext> <frameset> <p\tt=">" <p\tt="</body>"> <div\tdata-a=\'<script>\'> ="x'
    " <input\ttype=hidden> \x00"
).split(" ")
# What is no markup in a script or a comment, and would be to a tokenizer that has lost its place.
TEXT = (
    "if(a>1)f('x'); <b> <script </body><img src=x> <!-- --> </div> <style> <svg> \"q\" <\\/script> '</body></html>' -> "
).split(" ")


LONG = [
    *[("<script>", "</script>")] * 3,
    ("<script>", "</script >"),
    ("<!-- ", "-->"),
    ("<style>", "</style>"),
    ("<svg><foreignObject><script>", "</script></foreignObject></svg>"),
    ("<svg><style>", "</style></svg>"),
    ('<p title="', '">'),
    ("<template>", "</template>"),
    ("<textarea>", "</textarea>"),
    ("<svg><![CDATA[", "]]></svg>"),
    ("<svg><image href='", "'/></svg>"),
]


class Made(NamedTuple):
    before: bytes
    after: bytes


def document(rng: random.Random) -> bytes:
    """Return a document: small pieces in any order, or well nested ones, and at times a text that is longer than any buffer."""
    parts = [
        rng.choice(
            [
                "<html><body>",
                "<!doctype html><html><head><title>t</title></head><body>",
                "<html>",
                "<p>",
                "<html><head>",
            ]
        )
    ]
    kind = rng.random()
    if kind < 0.45:
        parts += [_piece(rng) for _ in range(rng.randint(1, 24))]
    elif kind < 0.75:
        parts += _drawing(rng)
    else:
        parts += [_element(rng, 3) for _ in range(rng.randint(1, 4))]
    if rng.random() < 0.08:
        parts.insert(rng.randint(1, len(parts)), _long(rng))
    parts.append(
        rng.choice(
            [
                "</body></html>",
                "</body></html>\n",
                "</body>",
                "",
                "</html>",
                "<p>x",
                "</bod",
                "</BODY>",
            ]
        )
    )
    return "".join(parts).encode()


def _piece(rng: random.Random) -> str:
    if rng.random() < 0.45:
        return rng.choice(ODD)
    name = rng.choice(NAMES)
    return f"<{'/' if rng.random() < 0.45 else ''}{name}>"


def _element(rng: random.Random, depth: int) -> str:
    name = rng.choice(NAMES)
    inner = "".join(
        _element(rng, depth - 1) if rng.random() < 0.6 and depth else rng.choice(ODD[:20])
        for _ in range(rng.randint(0, 3))
    )
    return f"<{name}>{inner}" + ("" if rng.random() < 0.15 else f"</{name}>")


def _drawing(rng: random.Random) -> list[str]:
    root = rng.choice(["svg", "math"])
    points = (
        ["foreignObject", "desc", "title"]
        if root == "svg"
        else ["mi", "mo", "mtext", "annotation-xml", "annotation-xml encoding=text/html"]
    )
    parts = [f"<{root}>"]
    opened = [root]
    for _ in range(rng.randint(0, 9)):
        draw = rng.random()
        if draw < 0.3:
            parts.append(_piece(rng))
        elif draw < 0.55:
            name = rng.choice(
                [*points, "svg", "math", "g", "script", "style", "a", "p", "div", "title", "xmp"]
            )
            parts.append(f"<{name}>")
            opened.append(name.split()[0])
        elif draw < 0.8 and opened:
            parts.append(f"</{opened.pop()}>")
        else:
            parts.append(
                rng.choice(
                    [
                        "<path d='M0 0'/>",
                        "x",
                        "<![CDATA[ <b> ]]>",
                        "<!-- </svg> -->",
                        "<p>",
                        "<b></b>",
                        "</svg>",
                        "</math>",
                    ]
                )
            )
    if rng.random() < 0.7:
        parts += [f"</{name}>" for name in reversed(opened)]
    return parts


def _long(rng: random.Random) -> str:
    fill = "".join(rng.choice(TEXT) for _ in range(40))
    size = rng.choice([15_000, 17_000, 66_000, 70_000, 140_000])
    text = fill * (size // len(fill) + 1)
    opening, closing = rng.choice(LONG)
    if opening.endswith(('"', "'")):
        text = text.replace(opening[-1], "")
    if opening == "<!-- ":
        text = text.replace("-->", "")
    return opening + text + closing


def streamed(rng: random.Random, page: bytes) -> tuple[bytes | None, str | None]:
    """Return a document that went through in chunks of random sizes; or None, and the reason."""
    injector, out, at = Injector(ADDED), [], 0
    scale = (
        rng.choice([1, 7, 40, 256, 5000, 40_000])
        if len(page) < 5000
        else rng.choice([256, 4096, 20_000, 70_000])
    )
    while True:
        size = rng.randint(1, 2 * scale)
        chunk, at = page[at : at + size], at + size
        last = at >= len(page)
        out += (
            [chunk]
            if not last and injector.try_pass_through(chunk)
            else injector.feed(chunk, last=last)
        )
        if last:
            return (None, injector.reason) if injector.reason else (b"".join(out), None)


def judge(tab: Page, count: int, seed: int) -> tuple[Counter[str], list[tuple[str, bytes, bytes]]]:
    """Judge so many documents; return what became of them, and those that came out wrong."""
    rng, found, wrong = random.Random(seed), Counter[str](), list[tuple[str, bytes, bytes]]()
    pairs: list[Made] = []

    def ask() -> None:
        texts = [[each.before.decode(), each.after.decode()] for each in pairs]
        for each, verdict in zip(pairs, tab.evaluate(SHAPES, texts), strict=True):
            if verdict:
                wrong.append((verdict, each.before, each.after))
        pairs.clear()

    for _ in range(count):
        page = document(rng)
        found["documents"] += 1
        found["over 64 KiB"] += len(page) > 65_536
        made = inject(page, ADDED)
        whole = (
            None
            if isinstance(made, Skipped)
            else made
            if isinstance(made, bytes)
            else b"".join(made)
        )
        stream, reason = streamed(rng, page)
        if isinstance(made, Skipped):
            found[f"whole, left out: {made.reason}"] += 1
        else:
            found["whole, with the snippet"] += 1
        found[
            "streamed, with the snippet" if stream is not None else f"streamed, left out: {reason}"
        ] += 1
        # A stream takes the first of several ends.
        found["streamed otherwise than whole"] += stream != whole
        if stream != whole and b"<frameset" in page:
            stream = None  # it may come after the snippet, and replace the body
        pairs += [Made(page, each) for each in dict.fromkeys((whole, stream)) if each is not None]
        if len(pairs) >= PAIRS or sum(len(each.before) for each in pairs) > 4_000_000:
            ask()
    if pairs:
        ask()
    found["wrong"] = len(wrong)
    return found, wrong


def main() -> None:
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from helpers.chromium import chromium

    count, seed = int(sys.argv[1]), int(sys.argv[2])
    began = time.monotonic()
    with chromium() as browser:
        tab = quiet(browser.new_page())
        found, wrong = judge(tab, count, seed)
    for verdict, before, after in wrong[:20]:
        print(f"{verdict}: {before[-600:]!r}\n    {after[-300:]!r}")
    for name, number in sorted(found.items()):
        print(f"{number:8,} {name}")
    print(f"seed {seed}, {time.monotonic() - began:.0f} s")
    sys.exit(1 if wrong else 0)


def quiet(tab: Page) -> Page:
    """Return a tab in which documents are parsed with scripting on, though none of their scripts runs or loads anything.

    A sandbox would forbid scripts as well, but then the parser would read a ``<noscript>`` as markup.
    """
    policy = "script-src 'none'; img-src 'none'; frame-src 'none'; style-src 'none'; object-src 'none'; media-src 'none'"

    def answer(route: Route) -> None:
        route.fulfill(
            status=200,
            content_type="text/html",
            headers={"content-security-policy": policy},
            body="<body></body>",
        )

    tab.route("**/*", answer)
    tab.goto("http://judge.test/")
    return tab


if __name__ == "__main__":
    main()
