"""ASGI messages of a page, in and out."""

from __future__ import annotations

import gzip
import re
import time
from typing import Any

import pytest
from helpers.apps import make_app
from helpers.asgi_client import Recorded, answers, body, call, start
from starlette.types import Receive, Scope, Send

from usercom_asgi import UserComConfig, UserComMiddleware

PAGE = b"<html><body>hello</body></html>"


@pytest.mark.parametrize("kind", ["push", "early_hint"])
async def test_response_push_in_mid_page_keeps_the_length_right(kind: str) -> None:
    odd = {"type": f"http.response.{kind}", "x": 1}
    parts = [b"<html><body>hi", b"</bo", b"dy></html>"]
    length = str(len(b"".join(parts)))
    app = answers(
        start({"content-type": "text/html", "content-length": length}), body(parts[0], more=True), odd,
        body(parts[1], more=True), odd, body(parts[2]),
    )  # fmt: skip
    got = await call(UserComMiddleware(app, UserComConfig(app="acme", api_key="ABC123")))
    assert got.header("content-length") in (None, str(len(got.body)))
    assert b"widget.js" in got.body
    assert got.types.count(kind) == 2


@pytest.mark.parametrize(
    "bad",
    [
        [("content-type", "text/html")],
        [(b"content-type", b"text/html"), (b"etag", "x")],
        [(b"a",)],
        [7],
    ],
)
@pytest.mark.parametrize("chunks", [1, 2])
async def test_response_invalid_headers_pass_unchanged(bad: Any, chunks: int) -> None:
    app = answers(
        {"type": "http.response.start", "status": 200, "headers": bad},
        *[body(b"x", more=True)] * (chunks - 1),
        body(b"y"),
    )
    got = await call(UserComMiddleware(app, UserComConfig(app="acme", api_key="ABC123")))
    assert got.types == ["start"] + ["body"] * chunks
    assert got.start["headers"] == bad
    assert got.body == b"x" * (chunks - 1) + b"y"


@pytest.mark.parametrize(
    "broken",
    ["update_entity_headers", "_body_messages", "with_cookies", "inject", "Injector"],
)
@pytest.mark.parametrize(
    "parts", [[b"<html><body>x</body></html>"], [b"<html>", b"<body>x", b"</body></html>"]]
)
async def test_response_internal_error_sends_the_whole_page(
    broken: str, parts: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    from usercom_asgi.page import response as module

    def fails(*args: Any, **options: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(module, broken, fails)
    app = answers(start(), *(body(each, more=True) for each in parts[:-1]), body(parts[-1]))
    got = await call(UserComMiddleware(app, UserComConfig(app="acme", api_key="ABC123")))
    got.assert_legal()
    plain = re.sub(rb"<script .*</script>", b"", got.body, flags=re.DOTALL)
    assert plain == b"".join(parts)


async def test_response_many_empty_messages_take_linear_time() -> None:
    many = [body(b"", more=True)] * 20_000
    app = answers(start(), *many, body(b"<html><body>x</body></html>"))
    began = time.process_time()
    got = await call(UserComMiddleware(app, UserComConfig(app="acme", api_key="ABC123")))
    got.assert_legal()
    assert b"widget.js" in got.body
    assert time.process_time() - began < 15


async def test_response_buffer_reused_by_the_application_is_sent_intact() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        buffer = bytearray(b"<" + b"." * 9)
        await send(start())
        await send(
            {"type": "http.response.body", "body": memoryview(buffer)[:1], "more_body": True}
        )
        buffer[:] = b"p>fragment"
        await send({"type": "http.response.body", "body": memoryview(buffer)})

    assert (await call(make_app(app))).body == b"<p>fragment"


async def test_response_message_reused_by_the_application_is_sent_intact() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"text/html"), (b"x-a", b"1")]
        message = {"type": "http.response.start", "status": 200, "headers": headers}
        await send(message)
        headers.clear()
        message.update(type="http.response.body", body=b"<", more_body=True)
        await send(message)
        message.update(body=b"p>fragment", more_body=False)
        await send(message)

    got = await call(make_app(app))
    assert got.types == ["start", "body", "body"]
    assert got.header("x-a") == "1"
    assert got.body == b"<p>fragment"


async def test_response_headers_of_another_type_pass_unchanged() -> None:
    got = await call(
        make_app(answers({"type": "http.response.start", "status": 200, "headers": 5}, body(b"x")))
    )
    assert got.start["headers"] == 5
    assert got.body == b"x"


@pytest.mark.parametrize("encoded", [False, True])
async def test_response_after_the_last_message_gets_no_second_snippet(*, encoded: bool) -> None:
    headers = {"content-type": "text/html", **({"content-encoding": "gzip"} if encoded else {})}
    page = gzip.compress(PAGE) if encoded else PAGE
    got = await call(
        make_app(
            answers(
                start(headers), body(page[:9], more=True), body(page[9:]), body(b""), body(b"more")
            )
        )
    )
    assert got.types == ["start"] + ["body"] * (len(got.messages) - 1)
    out = gzip.decompress(got.body.removesuffix(b"more")) if encoded else got.body
    assert out.count(b"widget.js") == 1
    assert got.body.endswith(b"more")


@pytest.mark.parametrize("has_begun", [False, True])
async def test_response_application_error_sends_only_a_page_that_has_begun(
    *, has_begun: bool
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        if has_begun:
            await send(body(b"<html><body>x", more=True))
        await send(body(b"</body", more=True))
        raise ZeroDivisionError

    got = Recorded({})
    with pytest.raises(ZeroDivisionError):
        await call(make_app(app), record=got)
    if has_begun:
        assert got.body == b"<html><body>x</body"
    else:
        assert not got.messages, "somebody further out may still answer with an error page"


async def test_response_to_head_in_one_or_two_messages_has_no_length_and_a_weak_etag() -> None:
    headers = [(b"content-type", b"text/html"), (b"content-length", b"28"), (b"etag", b'"a"')]
    for bodies in ([body(b"")], [body(b"", more=True), body(b"")]):
        got = await call(make_app(answers(start(headers), *bodies)), method="HEAD")
        assert got.types == ["start"] + ["body"] * len(bodies)
        assert [name for name, _ in got.headers] == [b"content-type", b"etag"]
        assert re.fullmatch(rb'W/"a\.ucs[0-9a-f]{12}"', got.headers[1][1])


@pytest.mark.parametrize("length", ["31, 31"])
@pytest.mark.parametrize("more", [{}, {"etag": '"a"'}])
async def test_response_with_two_lengths_passes_unchanged(
    length: str, more: dict[str, str]
) -> None:
    got = await call(
        make_app(
            answers(
                start({"content-type": "text/html", "content-length": length, **more}), body(PAGE)
            )
        )
    )
    assert got.body == PAGE
