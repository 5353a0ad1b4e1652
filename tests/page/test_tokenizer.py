"""The tokenizer that is fed with chunks: where the state matters, it is known or in doubt."""

from __future__ import annotations

import pytest

from usercom_asgi.page.injector import Injector, Skipped, inject
from usercom_asgi.page.tokenizer import Tokenizer

ADDED = b"<script>1</script>"
LONG = b"var state = 'nice shop! ';\n" * 9000
#: Elements whose content is text, as they begin and end.
RAW_TEXT_ELEMENTS = [
    (b"<script>", b"</script>"),
    (b"<script><!--", b"--></script>"),
    (b"<script><!-- <script>", b"</script></script>"),
    (b"<style>", b"</style>"),
    (b"<title>", b"</title>"),
    (b"<textarea>", b"</textarea>"),
    (b"<iframe>", b"</iframe>"),
    (b"<noscript>", b"</noscript>"),
    (b"<noembed>", b"</noembed>"),
    (b"<noframes>", b"</noframes>"),
    (b"<xmp>", b"</xmp>"),
    (b"<!-- ", b"-->"),
    (b'<p title="', b'">'),
    (b"<svg><![CDATA[", b"]]></svg>"),
    (b"<svg><foreignObject><script>", b"</script></foreignObject></svg>"),
    (b"<svg><image href='", b"'/></svg>"),
    (b"<template><style>", b"</style></template>"),
]


def streamed(page: bytes, step: int) -> bytes:
    injector, out = Injector(ADDED), []
    for at in range(0, len(page), step):
        chunk, last = page[at : at + step], at + step >= len(page)
        out += (
            [chunk]
            if not last and injector.try_pass_through(chunk)
            else injector.feed(chunk, last=last)
        )
    return b"".join(out)


@pytest.mark.parametrize("close", [b"</body></html>", b""])
@pytest.mark.parametrize(
    ("opening", "closing"), RAW_TEXT_ELEMENTS, ids=[each.decode() for each, _ in RAW_TEXT_ELEMENTS]
)
def test_injector_long_raw_text_with_tags_puts_the_snippet_behind_the_element(
    opening: bytes, closing: bytes, close: bytes
) -> None:
    text = LONG.replace(b"'", b"") + b"<p t=<scrip </body><img src=x onerror=alert(1)>"
    page = b"<html><body>" + opening + text + closing + b"<p>x" + close
    expected = page[: len(page) - len(close)] + ADDED + close
    assert [streamed(page, step) for step in (256, 4096, 70_000, len(page))] == [expected] * 4


@pytest.mark.parametrize(
    "script", [b"-> <p title='<script '></body><img src=x><!--", b"-> </body><img src=x><script>"]
)
def test_injector_script_tags_in_a_string_of_a_long_script_are_unchanged(
    script: bytes,
) -> None:
    page = (
        b"<html><body><script>var a = '"
        + LONG.replace(b"'", b"")
        + script
        + b"';</script>\n<p>bye</p>"
    )
    for close in (b"</body></html>", b""):
        assert script in streamed(page + close, 4096)


@pytest.mark.parametrize("step", [1, 3, 7])
@pytest.mark.parametrize(
    ("opening", "closing"), RAW_TEXT_ELEMENTS, ids=[each.decode() for each, _ in RAW_TEXT_ELEMENTS]
)
def test_tokenizer_in_any_chunks_ends_in_the_same_state(
    opening: bytes, closing: bytes, step: int
) -> None:
    page = b"<html><body>" + opening + b" - x </body> x" * 200 + closing + b"</body>"
    tokenizer = Tokenizer()
    for at in range(0, len(page), step):
        tokenizer.feed(page[at : at + step])
    assert tokenizer.body_end == len(page) - len(b"</body>")
    assert not tokenizer.is_in_doubt


@pytest.mark.parametrize(
    "drawing",
    [
        b"<svg><path d='M0 0'></svg>",
        b"<svg><foreignObject><script>'<b></body>'</script></foreignObject></svg>",
        b"<svg><foreignObject><div><p>x</p></div></foreignObject></svg>",
        b"<svg><title>x</title><desc><b>y</b></desc></svg>",
        b"<svg><font color=red>",
        b"<svg><font x=y></font></svg>",
        b"<math><mi>x</mi><mo>+</mo></math>",
        b"<math><mi><b>x</b></mi></math>",
        b"<math><annotation-xml encoding='Text/HTML'><div>x</div></annotation-xml></math>",
        b"<math><annotation-xml><svg></svg></annotation-xml></math>",
        b"<svg><style><b></style>",
        b"<svg><path a=b/></path></svg>",
    ],
)
def test_inject_behind_foreign_content_that_is_closed_adds_the_snippet(drawing: bytes) -> None:
    page = b"<html><body>" + drawing + b"</body></html>"
    assert inject(page, ADDED) == page.replace(b"</body></html>", ADDED + b"</body></html>")


@pytest.mark.parametrize(
    "page",
    [
        b"<math></svg>",
        b"<svg></math>",
        b"<svg><p></p></svg></svg><svg>",
        b"<svg><path a=b/></svg><svg>",
        b"<table><svg></table>",
        b"<div><svg></div>",
        b"<table><tr><td><svg><foreignObject><tr>",
        b"<svg><foreignObject><p></foreignObject></svg>",
        b"<svg><foreignObject><div><![CDATA[<x>]]></div></foreignObject></svg>",
        b"<math><annotation-xml encoding='text&#47;html'><div></annotation-xml></math>",
        b"<svg></p></svg>",
        b"<select><option>x<style></style></select>",
        b"<select><svg></svg></select>",
        b"<template><col><style></template>",
        b"x\x1b$B<x>\x1b(B",
    ],
)
def test_inject_page_with_the_tokenizer_state_in_doubt_is_skipped(page: bytes) -> None:
    whole = b"<html><body>" + page + b"</body></html>"
    assert isinstance(inject(whole, ADDED), Skipped)
    assert streamed(whole, 5) == whole
    assert streamed(whole, 1000) == whole


def test_tokenizer_with_an_attribute_of_a_megabyte_keeps_little() -> None:
    tokenizer = Tokenizer()
    begin = b"<html><body><img alt='x' src=\"data:,"
    tokenizer.feed(begin)
    for _ in range(100):
        tokenizer.feed(b"x" * 10_000)
        assert len(tokenizer._rest) < 2000  # what it keeps is not to be seen from outside
    tokenizer.feed(b'"></body>')
    assert tokenizer.body_end == len(begin) + 1_000_000 + len(b'">')
