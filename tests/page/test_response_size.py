"""A long page in one message: what goes out of it, and how much of it is in memory twice."""

from __future__ import annotations

import tracemalloc

import pytest
from starlette.types import Message

from usercom_asgi.page.response import PageResponse, PageSettings

SNIPPET = b"<script>1</script>"
TEXT = b"<p>text</p>\n"
PIECE = 256 * 1024


def page_of(size: int) -> bytes:
    return b"<html><head></head><body>" + TEXT * (size // len(TEXT)) + b"</body></html>\n"


def page_response(body: bytes, *, in_head: bool = False) -> PageResponse:
    headers = [(b"content-type", b"text/html"), (b"content-length", b"%d" % len(body))]
    start = {"type": "http.response.start", "status": 200, "headers": headers}
    return PageResponse(start, PageSettings(SNIPPET, in_head=in_head))


@pytest.mark.parametrize("in_head", [False, True])
@pytest.mark.parametrize("more", [False, True])
@pytest.mark.parametrize("size", [65_000, 66_000, PIECE, 3 * PIECE + 17])
def test_page_response_long_page_is_sent_in_pieces_of_at_most_256_kib(
    size: int, *, more: bool, in_head: bool
) -> None:
    body = page_of(size)
    page = page_response(body, in_head=in_head)
    message: Message = {"type": "http.response.body", "body": body, "more_body": more}
    start, *bodies = page.feed(
        message
    )  # with more_body, the Content-Length still marks the body as complete
    out = b"".join(each["body"] for each in bodies)
    assert out == body.replace(
        *((b"</head>", SNIPPET + b"</head>") if in_head else (b"</body>", SNIPPET + b"</body>"))
    )
    assert dict(start["headers"])[b"content-length"] == b"%d" % len(out)
    assert [each["more_body"] for each in bodies] == [True] * (len(bodies) - 1) + [more]
    assert all(0 < len(each["body"]) <= PIECE for each in bodies)
    assert page.is_done


@pytest.mark.slow
def test_page_response_of_64_mib_allocates_less_than_1_mib() -> None:
    body = page_of(64 << 20)
    page = page_response(body)
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
