"""What an attack on the page half found after the first one (tests/test_attacks.py)."""

from __future__ import annotations

import gzip
import time
from typing import Any

import pytest
from helpers.asgi_client import answers, body, call, html, http_scope, start
from starlette.types import Message, Receive, Scope, Send

from usercom_asgi import UserComConfig, UserComMiddleware, get_visitor
from usercom_asgi.core.hooks import warn_once
from usercom_asgi.page.content_encoding import CodingError, open_encoding
from usercom_asgi.page.injector import Injector, Skipped, inject

PAGE = b"<html><body>hello</body></html>"
ADDED = b"<script>1</script>"
CODE = b"if (a > 1) f('x');\n"
FILLER = b"<p>text</p>\n" * 12_000
OWN = b"var d = '<html><body></body></html>';\n"


def over(app: Any, hooks: dict[str, Any] | None = None, **settings: Any) -> UserComMiddleware:
    return UserComMiddleware(
        app, UserComConfig(app="acme", api_key="ABC123", **settings), **(hooks or {})
    )


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


# -- Where ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "end", [b"</script>", b"</script></html>", b"</script>" + b"<p>text</p>\n" * 1000]
)
async def test_a_snippet_is_never_put_into_a_script_of_a_long_stream(end: bytes) -> None:
    page = (
        b"<html><head></head><body>" + FILLER + b"<script>" + CODE * 10_000 + OWN + CODE * 5 + end
    )  # </body> may be left out
    got = await call(over(html(*in_chunks(page), length=False)))
    assert OWN in got.body
    assert b"widget.js" in got.body


@pytest.mark.parametrize("end", [b"-->", b"--><p>text</p>", b"--></html>"])
def test_nor_into_a_comment(end: bytes) -> None:
    page = b"<html><head></head><body>" + FILLER + b"<!-- " + CODE * 10_000 + OWN + CODE * 5 + end
    assert streamed(page) == whole(page)


@pytest.mark.parametrize(
    "lead", [b"h='<style>';", b"h='<textarea>';", b"h='<template>';", b"h='<svg>';"]
)
def test_a_long_stream_with_a_comment_behind_its_end(lead: bytes) -> None:
    page = b"<html><head></head><body>" + FILLER + b"<script>" + CODE * 7_000 + lead
    page += b"</script></body></html><!-- made in 3 ms -->"
    assert streamed(page) == whole(page)


def test_body_at_the_very_edge_in_a_long_stream() -> None:
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
async def test_framesets_as_html_4_writes_them(page: bytes) -> None:
    assert (await call(over(html(page)))).body == page


@pytest.mark.parametrize(
    "page",
    [
        b"<html><body><!-- <frameset> --><p>x</body></html>",
        b"<html><!-- <frameset> --><body><p>x</body></html>",
    ],
)
async def test_a_frameset_in_a_comment_is_none(page: bytes) -> None:
    assert b"widget.js" in (await call(over(html(page)))).body


def test_many_comments_that_do_not_end_take_no_time() -> None:
    began = time.process_time()
    inject(b"<html>" + b"<!--" * 200_000, ADDED)
    assert time.process_time() - began < 2


# -- Whose widget -----------------------------------------------------------------------------------------------------


async def test_a_widget_js_of_somebody_else() -> None:
    page = PAGE.replace(
        b"hello", b'hello<script src="https://cdn.userway.org/widget.js" data-account="x"></script>'
    )
    assert b"acme.user.com/widget.js" in (await call(over(html(page)))).body


@pytest.mark.parametrize(
    "address",
    [b"https://other.user.com/widget.js", b"//app.userengage.com/widget.js", b"https:\\/\\/acme.user.com\\/widget.js",
     b"HTTPS://Acme.User.com/widget.js", b"https://chat.example.com:8443/widget.js"],
)  # fmt: skip
async def test_the_page_s_own_is_known_by_its_host(address: bytes) -> None:
    page = PAGE.replace(b"hello", b'<script>s.src = "' + address + b'"</script>')
    app = UserComMiddleware(
        html(page), UserComConfig(base_url="https://chat.example.com:8443", api_key="ABC123")
    )
    assert (await call(app)).body == page


# -- Headers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hook", ["should_inject", "nonce"])
@pytest.mark.parametrize("change", ["insert", "pop", "append"])
async def test_headers_that_change_while_a_hook_is_asked(hook: str, change: str) -> None:
    headers = [
        (b"content-type", b"text/html"),
        (b"content-length", b"%d" % len(PAGE)),
        (b"x-a", b"1"),
    ]

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send(body(PAGE))

    def changes(connection: Any) -> None:
        if change == "insert":  # the list is shared by all responses
            headers.insert(1, (b"set-cookie", b"session=1"))
        elif change == "pop":
            headers.pop(0)
        else:
            headers.append((b"etag", b'"a"'))

    got = await call(over(app, {hook: changes}))
    assert b"widget.js" in got.body
    assert got.header("content-type") == "text/html"
    assert got.header("content-length") == str(len(got.body))
    assert got.header("x-a") == "1"


@pytest.mark.parametrize("length", ["31, 31"])
@pytest.mark.parametrize("more", [{}, {"etag": '"a"'}])
async def test_a_length_that_is_two(length: str, more: dict[str, str]) -> None:
    got = await call(
        over(
            answers(
                start({"content-type": "text/html", "content-length": length, **more}), body(PAGE)
            )
        )
    )
    assert got.body == PAGE


async def test_json_with_odd_names_is_none_of_our_business(
    caplog: pytest.LogCaptureFixture,
) -> None:
    odd: Message = {
        **start({"content-type": "application/json"}),
        "headers": [(b"content-type", b"application/json")],
    }
    odd["headers"].append((bytearray(b"x-a"), b"1"))
    await call(over(answers(odd, body(b"{}"))))
    assert not caplog.records


async def test_an_odd_start_without_consent_is_not_lost() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await get_visitor(scope).reset_auth()
        headers: list[Any] = [(b"content-type", b"text/html"), (b"vary", "Accept")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send(body(b"x"))

    got = await call(
        over(app, {"consent": lambda _: False}), headers={"cookie": "__ca__chat=abc123"}
    )
    assert got.types == ["start", "body"]


async def test_gpc_where_the_server_gives_headers_as_lists() -> None:
    scope = http_scope(headers={"sec-gpc": "1", "cookie": "__ca__chat=abc123"})
    scope["headers"] = [list(pair) for pair in scope["headers"]]
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    await over(html(PAGE), honour_gpc=True)(scope, None, send)  # type: ignore[arg-type]  # nobody receives
    assert b"widget.js" not in sent[1]["body"]


async def test_a_page_that_depends_on_htmx_says_so() -> None:
    app = over(html(PAGE, headers={"cache-control": "max-age=600"}))
    asked = await call(app, headers={"hx-request": "true"})
    assert asked.body == PAGE
    assert asked.all("vary") == ["HX-Request"]
    assert not (await call(app)).all("vary")


async def test_htmx_restores_its_history_from_a_whole_page() -> None:
    got = await call(
        over(html(PAGE)), headers={"hx-request": "true", "hx-history-restore-request": "true"}
    )
    assert b"widget.js" in got.body


@pytest.mark.parametrize(
    "label",
    ["csISO2022JP", "csUnicode", "unicode", "iso-10646-ucs-2", "unicodeFFFE", "unicodefeff"],
)
async def test_other_names_of_charsets_that_are_no_superset_of_ascii(label: str) -> None:
    got = await call(over(html(PAGE, headers={"content-type": f"text/html; charset={label}"})))
    assert got.body == PAGE


# -- Policies ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/widget.js", "/", ""])
async def test_a_policy_that_names_the_very_script(
    path: str, caplog: pytest.LogCaptureFixture
) -> None:
    warn_once.cache_clear()
    policy = (
        f"script-src 'unsafe-inline' https://acme.user.com{path} https://widget.user.com; "
        "connect-src https://acme.user.com wss://acme.user.com"
    )
    await call(over(html(PAGE, headers={"content-security-policy": policy})))
    assert not caplog.records


async def test_a_policy_that_names_other_paths_than_are_needed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    warn_once.cache_clear()
    policy = (
        "script-src 'unsafe-inline' https://acme.user.com/other.js https://widget.user.com/widget.js; "
        "connect-src https://acme.user.com/widget.js wss://acme.user.com"
    )
    await call(over(html(PAGE, headers={"content-security-policy": policy})))
    assert [each.message.partition(": ")[2] for each in caplog.records] == [
        (
            'add "https://acme.user.com https://widget.user.com" to script-src '
            'and add "https://acme.user.com" to connect-src (logged once)'
        ),
    ]


# -- Encodings --------------------------------------------------------------------------------------------------------


def test_a_body_of_very_many_gzip_members_is_left_alone() -> None:
    coding = open_encoding(b"gzip")
    assert coding is not None
    assert coding.decode(gzip.compress(b"x") * 100, last=True) == b"x" * 100
    coding = open_encoding(b"gzip")
    assert coding is not None
    with pytest.raises(CodingError, match="members"):
        coding.decode(gzip.compress(b"") * 64_000, last=True)
