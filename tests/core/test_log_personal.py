"""No record of the log holds anything of a visitor, whatever fails."""

from __future__ import annotations

import json
import logging
import socket
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from helpers.apps import app_with
from helpers.asgi_client import call, html, lifespan

from usercom_asgi import Event, SqliteOutbox, UserComConfig, UserComMiddleware

#: In each value of the visitor, and in nothing else.
MARK = "zqx"
KEY = MARK + "a1B2" * 8
EMAIL = f"{MARK}.person@example.com"
REQUEST: dict[str, Any] = {
    "path": f"/reset/{EMAIL}/{MARK}token",
    "query": f"email={EMAIL}&{MARK}=1",
    "headers": {
        "cookie": f"__ca__chat={KEY}; __ca__identity={MARK}a; __ca__flash={MARK}b; session={MARK}c",
        "user-agent": f"{MARK}agent",
        "referer": f"https://{MARK}.example.com/{EMAIL}",
        "authorization": f"Bearer {MARK}bearer",
    },
}
SETTINGS: dict[str, dict[str, Any]] = {
    "widget": {},
    "rest": {"rest_token": f"{MARK}resttoken0123456789"},
}
#: What the server answers; each quotes the whole request, and a person that it knows.
ANSWERS = [
    f"{kind}:{status}"
    for kind, statuses in {
        "detail": (400, 401, 404, 429, 503),
        "errors": (400, 403, 422, 500),
        "record": (200, 400, 404, 409),
        "text": (200, 404, 503),
        "html": (404,),
        "large": (400, 503),
        **dict.fromkeys(("redirect", "reason", "status line"), (302,)),
        **dict.fromkeys(("header", "length", "chunk", "encoding", "broken", "closed"), (200,)),
        "retry": (503,),
    }.items()
    for status in statuses
]


def answer(kind: str, status: int, request: str) -> bytes:
    """Return an answer that quotes the request."""
    quoted, kind_of, more = request, "application/json", ""
    if kind == "detail":
        quoted = json.dumps({"detail": f"refused, as for Mr {MARK.title()}son: {request}"})
    elif kind == "errors":
        quoted = json.dumps({"errors": {"email": [f"taken by {MARK.title()}son"], KEY: [request]}})
    elif kind == "record":
        quoted = json.dumps(
            {"id": MARK, "first_name": MARK, "user": {"key": MARK}, "tags": [request]}
        )
    elif kind == "large":
        quoted = json.dumps({"detail": f"{MARK} " * 300_000})
    elif kind == "html":
        kind_of = "text/html"
    elif kind == "redirect":
        more = f"Location: http://127.0.0.1:1/?{EMAIL}\r\n"
    elif kind == "encoding":
        more = "Content-Encoding: gzip\r\n"
    elif kind == "retry":
        more = f"Retry-After: {EMAIL}\r\nDate: {KEY}\r\n"
    length = f"Content-Length: {len(quoted)}\r\n"
    line = f"HTTP/1.1 {status} X\r\n"
    if kind == "closed":
        return b""
    if kind == "status line":
        line = f"HTTP/1.1 {MARK} {request}"
    elif kind == "reason":
        line = f"HTTP/1.1 {status} {EMAIL} {KEY}\r\n"
    elif kind == "header":
        more = f"{EMAIL} : \0{KEY}\r\n"
    elif kind == "length":
        length = f"Content-Length: {EMAIL}\r\n"
    elif kind == "chunk":
        length = "Transfer-Encoding: chunked\r\n"
    elif kind == "broken":
        length = "Content-Length: 99999\r\n"
    head = f"{line}Content-Type: {kind_of}\r\n{length}{more}Connection: close\r\n\r\n"
    return (head + quoted).encode("latin-1", "replace")


class QuotingServer:
    """A server on a socket that answers each request by quoting it."""

    def __init__(self) -> None:
        self.answer = ""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    @contextmanager
    def running(self) -> Iterator[QuotingServer]:
        thread = threading.Thread(target=self._accept, daemon=True)
        thread.start()
        yield self
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        thread.join(30)

    def _accept(self) -> None:
        while True:
            try:
                connection = self._listener.accept()[0]
            except OSError:
                return
            with connection:
                try:
                    self._respond(connection)
                except OSError:
                    continue

    def _respond(self, connection: socket.socket) -> None:
        with connection.makefile("rb") as reader:
            lines: list[bytes] = []
            while (line := reader.readline()) not in (b"\r\n", b""):
                lines.append(line)
            sizes = [
                int(each[15:]) for each in lines if each.lower().startswith(b"content-length:")
            ]
            request = b"".join(lines) + reader.read(sum(sizes))
            kind, _, status = self.answer.partition(":")
            connection.sendall(answer(kind, int(status), request.decode("latin-1")))


@pytest.fixture(scope="module")
def server() -> Iterator[QuotingServer]:
    with QuotingServer().running() as server:
        yield server


async def shop(visitor: Any) -> None:
    """Use each helper, also with values that User.com cannot take."""
    visitor.identify(user_id=f"{MARK}42", email=EMAIL, first_name=MARK, phone_number=MARK)
    await visitor.event("bought", {EMAIL: MARK * 100, "deep": {KEY: [MARK, f"{MARK}\0"]}})
    await visitor.page_hit(f"http://shop.example.com/{EMAIL}", None, size=MARK)
    await visitor.update(
        first_name=MARK, email=MARK, company={"company_id": MARK, EMAIL: MARK * 99}
    )
    await visitor.product_event("boots", "purchase", custom_data={EMAIL: MARK})
    await visitor.page_hit(None, Event(f"to {MARK}@example", {KEY: MARK}))


def assert_impersonal(records: list[logging.LogRecord], *, least: int = 1) -> None:
    """Search all records in full: text, arguments, attributes and traceback."""
    ours = [each for each in records if each.name == "usercom_asgi"]
    assert len(ours) >= least
    for record in ours:
        text = logging.Formatter("%(message)s").format(record)
        fields = {name: value for name, value in vars(record).items() if name != "message"}
        assert MARK not in f"{text} {fields!r}".lower()


@pytest.fixture(autouse=True)
def every_record(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "usercom_asgi")


@pytest.mark.slow
@pytest.mark.parametrize("channel", SETTINGS)
async def test_records_of_failing_calls_hold_nothing_of_the_visitor(
    server: QuotingServer, channel: str, caplog: pytest.LogCaptureFixture
) -> None:
    config = UserComConfig(
        base_url=server.url,
        api_key="ABC123",
        secret_keys=(f"{MARK}0123456789abcdef",),
        inline_deadline=30,
        **SETTINGS[channel],
    )
    for server.answer in ANSWERS:
        # One middleware would log a failure of each kind once.
        await call(UserComMiddleware(app_with(shop), config), **REQUEST)
        assert_impersonal(caplog.records)
        caplog.clear()


@pytest.mark.parametrize(("channel", "answer"), [("widget", "record:400"), ("rest", "errors:503")])
async def test_records_of_a_delivery_with_a_file_hold_nothing_of_the_visitor(
    server: QuotingServer,
    channel: str,
    answer: str,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    server.answer = answer
    config = UserComConfig(
        base_url=server.url, api_key="ABC123", shutdown_timeout=0.2, **SETTINGS[channel]
    )
    for _ in range(2):
        outbox = SqliteOutbox(tmp_path / "a.db", lease=1)
        middleware = UserComMiddleware(app_with(shop), config, outbox=outbox)
        async with lifespan(middleware) as state:
            for _ in range(3):
                await call(middleware, **REQUEST, state=state)
            await anyio.sleep(0.1)
        with closing(sqlite3.connect(tmp_path / "a.db")) as file, file:
            spoilt = [f'{{"v": "{EMAIL}"}}', f'{{"v": 1, "command": {{"kind": "{EMAIL}"}}}}', EMAIL]
            for text, row in zip(
                spoilt, file.execute("SELECT id FROM commands").fetchall(), strict=False
            ):
                file.execute("UPDATE commands SET body = ? WHERE id = ?", (text, *row))
    assert_impersonal(caplog.records, least=5)


@pytest.mark.parametrize("hook", ["identify", "consent", "nonce", "should_inject"])
async def test_records_of_a_hook_with_a_wrong_result_hold_nothing_of_the_visitor(
    hook: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Unusable:
        def __repr__(self) -> str:
            return MARK

        def __bool__(self) -> bool:
            raise AttributeError

    for result in (MARK, [MARK], {MARK: MARK}, {"email": MARK, EMAIL: Unusable()}, Unusable()):
        config = UserComConfig(
            base_url="http://127.0.0.1:1",
            api_key="ABC123",
            secret_keys=(f"{MARK}0123456789abcdef",),
        )
        hooks: dict[str, Any] = {hook: lambda _, result=result: result}
        for page in (
            html(b"<html><body></body></html>"),
            html(b"{}", headers={"content-type": "a/b"}),
        ):
            await call(UserComMiddleware(app_with(shop, page), config, **hooks), **REQUEST)
    assert_impersonal(caplog.records, least=5)


async def test_records_of_a_skipped_command_hold_nothing_of_the_visitor(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def buy(visitor: Any) -> None:
        await visitor.event("bought", {EMAIL: MARK})

    middleware = UserComMiddleware(app_with(buy), UserComConfig(app="acme", api_key="ABC123"))
    await call(middleware, **{**REQUEST, "headers": {}})
    assert_impersonal(caplog.records)
    assert "of the path '/reset/...'" in caplog.text
