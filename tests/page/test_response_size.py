"""A long page in one message: what goes out of it, and how much of it is in memory twice."""

from __future__ import annotations

import tracemalloc

import pytest
from starlette.types import Message

from usercom_asgi.page.response import PageResponse

SNIPPET = b"<script>1</script>"
TEXT = b"<p>text</p>\n"
PIECE = 256 * 1024


def page_of(size: int) -> bytes:
    return b"<html><head></head><body>" + TEXT * (size // len(TEXT)) + b"</body></html>\n"


def opened(body: bytes, *, in_head: bool = False) -> PageResponse:
    headers = [(b"content-type", b"text/html"), (b"content-length", b"%d" % len(body))]
    return PageResponse(
        {"type": "http.response.start", "status": 200, "headers": headers}, SNIPPET, in_head=in_head
    )


@pytest.mark.parametrize("in_head", [False, True])
@pytest.mark.parametrize("more", [False, True])
@pytest.mark.parametrize("size", [65_000, 66_000, PIECE, 3 * PIECE + 17])
def test_a_long_page_in_pieces(size: int, *, more: bool, in_head: bool) -> None:
    body = page_of(size)
    page = opened(body, in_head=in_head)
    message: Message = {"type": "http.response.body", "body": body, "more_body": more}
    start, *bodies = page.feed(
        message
    )  # if more is to come, the length says that this is all of it
    out = b"".join(each["body"] for each in bodies)
    assert out == body.replace(
        *((b"</head>", SNIPPET + b"</head>") if in_head else (b"</body>", SNIPPET + b"</body>"))
    )
    assert dict(start["headers"])[b"content-length"] == b"%d" % len(out)
    assert [each["more_body"] for each in bodies] == [True] * (len(bodies) - 1) + [more]
    assert all(0 < len(each["body"]) <= PIECE for each in bodies)
    assert page.is_done


@pytest.mark.slow
def test_a_page_of_64_mb_is_not_copied_as_a_whole() -> None:
    body = page_of(64 << 20)
    page = opened(body)
    tracemalloc.start()
    try:
        size = sum(
            len(each.get("body", b""))
            for each in page.feed({"type": "http.response.body", "body": body})
        )
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert size == len(body) + len(SNIPPET)
    assert peak < 1 << 20
