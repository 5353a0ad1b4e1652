"""Compressed pages: gzip and deflate get the widget, other encodings pass unchanged."""

from __future__ import annotations

import gzip
import logging
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from helpers.asgi_client import Recorded, answers, body, call, html, start
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from usercom_asgi import UserComConfig, UserComMiddleware
from usercom_asgi.page.content_encoding import CodingError, open_encoding

CONFIG = UserComConfig(app="acme", api_key="ABC123")
PAGE = b"<html><body>" + b"<p>hello, hello</p>" * 100 + b"</body></html>"


def raw_deflate(data: bytes) -> bytes:
    made = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    return made.compress(data) + made.flush()


ENCODE: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
}
DECODE: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.decompress,
    "x-gzip": gzip.decompress,
    "deflate": zlib.decompress,
}


def encoded(coding: str, data: bytes, *, step: int | None = None, length: bool = True) -> ASGIApp:
    headers = {
        "content-type": "text/html",
        "content-encoding": coding,
        **({"content-length": str(len(data))} if length else {}),
    }
    chunks = [data[n : n + step] for n in range(0, len(data), step)] if step else [data]
    return answers(
        start(headers), *(body(each, more=True) for each in chunks[:-1]), body(chunks[-1])
    )


async def through(app: ASGIApp, **scope: Any) -> Recorded:
    got = await call(UserComMiddleware(app, CONFIG), **scope)
    got.assert_legal()
    return got


@pytest.mark.parametrize("coding", ENCODE)
@pytest.mark.parametrize("step", [None, 50, 1])
async def test_compressed_page_gets_the_snippet_and_stays_compressed(
    coding: str, step: int | None
) -> None:
    plain = (await through(html(PAGE))).body
    got = await through(encoded(coding, ENCODE[coding](PAGE), step=step))
    assert DECODE[coding](got.body) == plain
    assert got.header("content-encoding") == coding
    assert got.header("content-length") in (
        {str(len(got.body))} if step is None else {None, str(len(got.body))}
    )


async def test_deflate_without_the_zlib_header_gets_the_snippet() -> None:
    got = await through(encoded("deflate", raw_deflate(PAGE)))
    assert zlib.decompress(got.body, -zlib.MAX_WBITS) == (await through(html(PAGE))).body


async def test_gzip_of_several_members_gets_the_snippet() -> None:
    got = await through(encoded("gzip", gzip.compress(PAGE[:200]) + gzip.compress(PAGE[200:])))
    assert gzip.decompress(got.body) == (await through(html(PAGE))).body


@pytest.mark.parametrize("coding", ["compress", "gzip, br", "aws-chunked"])
async def test_unknown_encoding_passes_unchanged(coding: str) -> None:
    got = await through(encoded(coding, b"\x00\x01\x02"))
    assert got.body == b"\x00\x01\x02"
    assert got.header("content-length") == "3"


@pytest.mark.parametrize("coding", ENCODE)
@pytest.mark.parametrize(
    "broken", [lambda data: b"<html><body></body>", lambda data: data[:-9], lambda data: data[:-3]]
)
async def test_compressed_page_with_a_corrupt_body_passes_unchanged(
    coding: str, broken: Callable[[bytes], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    data = broken(ENCODE[coding](PAGE))
    got = await through(encoded(coding, data))
    assert got.body == data
    assert got.header("content-length") == str(len(data))
    assert "sending it unchanged" in caplog.text


async def test_compressed_stream_corrupt_in_the_middle_stays_corrupt_for_the_browser(
    caplog: pytest.LogCaptureFixture,
) -> None:
    data = gzip.compress(PAGE * 50, compresslevel=0)
    data = data[:40_000] + b"\xff" * 100 + data[40_100:]
    got = await through(encoded("gzip", data, step=10_000, length=False))
    with pytest.raises((OSError, EOFError, zlib.error)):
        gzip.decompress(got.body)
    assert "sending the rest unchanged" in caplog.text


@pytest.mark.parametrize("step", [None, 300])
async def test_gzip_with_padding_behind_the_end_gets_the_snippet(step: int | None) -> None:
    got = await through(encoded("gzip", gzip.compress(PAGE) + b"\0" * 8, step=step))
    assert gzip.decompress(got.body) == (await through(html(PAGE))).body


@pytest.mark.parametrize("coding", ENCODE)
async def test_compressed_page_head_response_without_a_body_logs_no_warning(
    coding: str, caplog: pytest.LogCaptureFixture
) -> None:
    headers = {
        "content-type": "text/html",
        "content-encoding": coding,
        "content-length": "99",
        "etag": '"x"',
    }
    got = await through(answers(start(headers), body()), method="HEAD")
    assert got.header("content-length") is None
    assert (got.header("etag") or "").startswith('W/"x.ucs')
    assert caplog.messages == []


async def test_compressed_page_cut_off_before_the_end_passes_unchanged() -> None:
    data = gzip.compress(PAGE)[:-9]
    headers = {
        "content-type": "text/html",
        "content-encoding": "gzip",
        "content-length": str(len(data)),
    }
    got = await through(answers(start(headers), body(data, more=True), body()))
    assert got.body == data


async def test_compressed_stream_is_flushed_after_each_chunk() -> None:
    made = zlib.compressobj(6, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    first = made.compress(b"<html><body><p>first</p>") + made.flush(zlib.Z_SYNC_FLUSH)
    last = made.compress(b"</body></html>") + made.flush()
    got = await through(
        answers(
            start({"content-type": "text/html", "content-encoding": "gzip"}),
            body(first, more=True),
            body(last),
        )
    )
    assert (
        zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(got.chunks[0])
        == b"<html><body><p>first</p>"
    )


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(ENCODE)), st.lists(st.integers(1, 400), min_size=1, max_size=30))
async def test_compressed_page_in_any_chunks_gets_the_snippet(
    coding: str, steps: list[int]
) -> None:
    data = ENCODE[coding](PAGE)
    chunks, at = [], 0
    for step in steps:
        chunks.append(data[at : at + step])
        at += step
    headers = {"content-type": "text/html", "content-encoding": coding}
    got = await through(
        answers(start(headers), *(body(each, more=True) for each in chunks), body(data[at:]))
    )
    assert DECODE[coding](got.body) == (await through(html(PAGE))).body


@pytest.mark.parametrize("outside", [True, False])
@pytest.mark.parametrize("streams", [True, False])
async def test_gzip_middleware_inside_or_outside_sends_the_snippet_compressed(
    outside: bool, streams: bool
) -> None:
    async def page(request: Request) -> Response:
        parts = [PAGE.decode()[n : n + 300] for n in range(0, len(PAGE), 300)]
        return (
            StreamingResponse(iter(parts), media_type="text/html")
            if streams
            else HTMLResponse(PAGE)
        )

    order = [Middleware(UserComMiddleware, config=CONFIG), Middleware(GZipMiddleware)]
    got = await call(
        Starlette(routes=[Route("/", page)], middleware=order if outside else order[::-1]),
        headers={"accept-encoding": "gzip"},
    )
    assert gzip.decompress(got.body) == (await through(html(PAGE))).body
    assert got.header("content-encoding") == "gzip"


@pytest.mark.parametrize("coding", ["br", "zstd"])
async def test_unsupported_encoding_passes_unchanged_with_one_warning_of_the_remedy(
    coding: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert (await through(encoded(coding, b"\x1b\x02"))).body == b"\x1b\x02"
    assert len(caplog.messages) == 1
    assert "put the compressing middleware outside of UserComMiddleware" in caplog.text


@pytest.mark.slow
async def test_gzip_bomb_passes_unchanged(caplog: pytest.LogCaptureFixture) -> None:
    data = gzip.compress(b"\0" * (80 * 1024 * 1024))
    assert (await through(encoded("gzip", data))).body == data
    assert "too many bytes in one chunk" in caplog.text


def test_open_encoding_gzip_of_64_000_members_raises_coding_error() -> None:
    coding = open_encoding(b"gzip")
    assert coding is not None
    assert coding.decode(gzip.compress(b"x") * 100, last=True) == b"x" * 100
    coding = open_encoding(b"gzip")
    assert coding is not None
    with pytest.raises(CodingError, match="members"):
        coding.decode(gzip.compress(b"") * 64_000, last=True)
