"""Where the snippet goes, in whole pages and in streams."""

from __future__ import annotations

import time

import pytest
from helpers.apps import make_app
from helpers.asgi_client import call, html

from usercom_asgi import UserComConfig, UserComMiddleware
from usercom_asgi.page.injector import Injector, Skipped, inject


async def test_inject_body_end_also_in_a_script_puts_the_snippet_at_the_real_end() -> None:
    for close in (b"</body\n>", b"</BODY>"):
        page = b'<html><body><script>d.write("</body>")</script>' + close + b"\n</html>"
        got = await call(UserComMiddleware(html(page), UserComConfig(app="acme", api_key="ABC123")))
        assert b'd.write("</body>")</script><script data-cfasync' in got.body


HEAD = b"<!doctype html><html><body>"


@pytest.mark.parametrize("size", range(990, 1020))
def test_inject_element_that_ends_where_the_window_begins_is_skipped(size: int) -> None:
    page = (
        HEAD
        + b"<p>para</p>\n" * 200
        + b"<script>1<xmp>1</script><!-- </xmp>"
        + b"x" * size
        + b"</body></html>"
    )
    assert isinstance(inject(page, b"<script>1</script>"), Skipped)


@pytest.mark.parametrize(
    "opened",
    [
        b'<script>var a="</scripts>";' + b"<b>x</b>\n" * 200,
        b"<!-- <script> -->" + b"z" * 1000 + b'<a title="</script> ',
    ],
)
def test_inject_false_end_of_a_script_is_skipped(opened: bytes) -> None:
    page = HEAD + b"<p>para</p>\n" * 200 + opened + b"</body></html>"
    assert isinstance(inject(page, b"<script>1</script>"), Skipped)


@pytest.mark.parametrize("place", range(16_370, 16_390))
def test_injector_body_tag_at_the_edge_of_the_window_equals_inject(place: int) -> None:
    page = b"<html><head>" + b" " * (place - 12) + b"<body>" + b"x" * 20_000 + b"</body></html>"
    injector = Injector(b"<script>1</script>")
    parts = [
        part
        for n in (0, 9_000, 18_000, 27_000, 36_000)
        for part in injector.feed(page[n : n + 9_000], last=n == 36_000)
    ]
    assert inject(page, b"<script>1</script>") == b"".join(parts)


@pytest.mark.parametrize(
    "written",
    ["s.src=`https://acme.user.com/widget.js`", r's.src="https:\/\/acme.user.com\/widget.js"'],
)
def test_inject_own_widget_in_any_notation_is_skipped(written: str) -> None:
    page = HEAD + f"<script>{written}</script></body></html>".encode()
    assert isinstance(inject(page, b"<script>1</script>"), Skipped)


def test_injector_in_head_with_body_tags_in_a_script_adds_the_snippet_to_the_head() -> None:
    page = (
        b"<html><head><script>"
        + (b"<body>" + b"x" * 60) * 1900
        + b"</script></head><body>y</body></html>"
    )
    injector = Injector(b"<script>1</script>", in_head=True)
    out = b"".join(
        part
        for n in range(0, len(page), 66)
        for part in injector.feed(page[n : n + 66], last=n + 66 >= len(page))
    )
    assert out == page.replace(b"</head>", b"<script>1</script></head>")


PAGE = b"<html><body>hello</body></html>"


ADDED = b"<script>1</script>"


CODE = b"if (a > 1) f('x');\n"


FILLER = b"<p>text</p>\n" * 12_000


OWN = b"var d = '<html><body></body></html>';\n"


def in_chunks(page: bytes, size: int = 8192) -> list[bytes]:
    return [page[at : at + size] for at in range(0, len(page), size)]


def whole(page: bytes) -> bytes:
    made = inject(page, ADDED)
    assert not isinstance(made, Skipped), made
    return made if isinstance(made, bytes) else b"".join(made)


def streamed(page: bytes) -> bytes:
    injector, out = Injector(ADDED), []
    chunks = in_chunks(page)
    for n, chunk in enumerate(chunks):
        last = n == len(chunks) - 1
        out += (
            [chunk]
            if n and not last and injector.try_pass_through(chunk)
            else injector.feed(chunk, last=last)
        )
    return b"".join(out)


@pytest.mark.parametrize(
    "end", [b"</script>", b"</script></html>", b"</script>" + b"<p>text</p>\n" * 1000]
)
async def test_injector_never_puts_the_snippet_into_a_script_of_a_long_stream(end: bytes) -> None:
    page = (
        b"<html><head></head><body>" + FILLER + b"<script>" + CODE * 10_000 + OWN + CODE * 5 + end
    )  # </body> may be left out
    got = await call(make_app(html(*in_chunks(page), length=False)))
    assert OWN in got.body
    assert b"widget.js" in got.body


@pytest.mark.parametrize("end", [b"-->", b"--><p>text</p>", b"--></html>"])
def test_injector_long_stream_that_ends_in_a_comment_equals_inject(end: bytes) -> None:
    page = b"<html><head></head><body>" + FILLER + b"<!-- " + CODE * 10_000 + OWN + CODE * 5 + end
    assert streamed(page) == whole(page)


@pytest.mark.parametrize(
    "lead", [b"h='<style>';", b"h='<textarea>';", b"h='<template>';", b"h='<svg>';"]
)
def test_injector_long_stream_with_a_comment_behind_its_end_equals_inject(lead: bytes) -> None:
    page = b"<html><head></head><body>" + FILLER + b"<script>" + CODE * 7_000 + lead
    page += b"</script></body></html><!-- made in 3 ms -->"
    assert streamed(page) == whole(page)


def test_injector_body_tag_at_the_edge_of_a_long_stream_equals_inject() -> None:
    page = b"<html><head>" + b" " * (16_379 - 12) + b"<body>" + b"x" * 200_000 + b"</body></html>"
    assert streamed(page) == whole(page)


@pytest.mark.parametrize(
    "page",
    [
        b"<html><head></head><frameset cols='*'><frame src=a><noframes><body>No frames?</body></noframes></frameset></html>",
        b"<html><!-- <body> --><frameset cols='50%,50%'><frame src=a></frameset></html>",
        b"<HTML><FRAMESET ROWS='*'><FRAME SRC=a></FRAMESET><NOFRAMES><BODY>x</BODY></NOFRAMES></HTML>",
    ],
)
async def test_inject_frameset_is_unchanged(page: bytes) -> None:
    assert (await call(make_app(html(page)))).body == page


@pytest.mark.parametrize(
    "page",
    [
        b"<html><body><!-- <frameset> --><p>x</body></html>",
        b"<html><!-- <frameset> --><body><p>x</body></html>",
    ],
)
async def test_inject_frameset_in_a_comment_gets_the_snippet(page: bytes) -> None:
    assert b"widget.js" in (await call(make_app(html(page)))).body


def test_inject_many_unclosed_comments_take_linear_time() -> None:
    began = time.process_time()
    inject(b"<html>" + b"<!--" * 200_000, ADDED)
    assert time.process_time() - began < 2


async def test_inject_widget_js_of_another_vendor_gets_the_snippet() -> None:
    page = PAGE.replace(
        b"hello", b'hello<script src="https://cdn.userway.org/widget.js" data-account="x"></script>'
    )
    assert b"acme.user.com/widget.js" in (await call(make_app(html(page)))).body


@pytest.mark.parametrize(
    "address",
    [b"https://other.user.com/widget.js", b"//app.userengage.com/widget.js", b"https:\\/\\/acme.user.com\\/widget.js",
     b"HTTPS://Acme.User.com/widget.js", b"https://chat.example.com:8443/widget.js"],
)  # fmt: skip
async def test_inject_page_with_a_widget_of_a_vendor_or_own_host_is_unchanged(
    address: bytes,
) -> None:
    page = PAGE.replace(b"hello", b'<script>s.src = "' + address + b'"</script>')
    app = UserComMiddleware(
        html(page), UserComConfig(base_url="https://chat.example.com:8443", api_key="ABC123")
    )
    assert (await call(app)).body == page
