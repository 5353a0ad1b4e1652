"""Responses that arrive in parts."""

from __future__ import annotations

import zlib

import pytest
from helpers.apps import make_app
from helpers.asgi_client import body, http_scope, start
from starlette.types import Message, Receive, Scope, Send


@pytest.mark.parametrize("encoded", [False, True])
async def test_responder_stream_that_goes_on_after_its_body_end_is_sent_at_once(
    *, encoded: bool
) -> None:
    """As Solid sends a page: the shell as a whole, then its parts as they are made."""
    shell = b"<!doctype html><html><head></head><body><div id=p></div></body></html>"
    parts = [b"<template id=1>one</template>", b"<script>fill(1)</script>", b"<!-- end -->"]
    encoder = zlib.compressobj(wbits=31)
    decoder = zlib.decompressobj(31)
    seen = b""

    def written(data: bytes, *, last: bool) -> bytes:
        if not encoded:
            return data
        return encoder.compress(data) + encoder.flush(zlib.Z_FINISH if last else zlib.Z_SYNC_FLUSH)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(
            start(
                {"content-type": "text/html", **({"content-encoding": "gzip"} if encoded else {})}
            )
        )
        await send(body(written(shell, last=False), more=True))
        assert b"widget.js" in seen
        assert seen.endswith(b"</body></html>")
        for part in parts:
            await send(body(written(part, last=False), more=True))
            assert seen.endswith(part)
        await send(body(written(b"", last=True)))

    async def send(message: Message) -> None:
        nonlocal seen
        data = message.get("body", b"")
        seen += decoder.decompress(data) if encoded else data

    async def receive() -> Message:
        raise AssertionError

    await make_app(app)(http_scope(), receive, send)
    assert seen.count(b"widget.js") == 1
    assert seen.endswith(b"".join(parts))
