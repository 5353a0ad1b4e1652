"""A server on a loopback socket that answers calls of the REST API by a script."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from starlette.types import Receive, Scope, Send

from helpers.serving import serve_app

TOKEN = "t0ken-of-the-workspace-0123456789abcdef0123456789abcdef01234567"


@dataclass
class Recorded:
    """One request as it arrived."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def params(self) -> dict[str, str]:
        return dict(parse_qsl(self.query, keep_blank_values=True))

    @property
    def line(self) -> str:
        return f"{self.method} {self.path.removeprefix('/api/public')}" + (
            f"?{self.query}" if self.query else ""
        )


@dataclass
class Scripted:
    """One answer; ``is_lost`` ends the connection in its body, status 0 gives none."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    is_lost: bool = False


class RestServer:
    """Answers in the order of the script, and records the ``requests``."""

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[Recorded] = []
        self.connections: set[tuple[str, int]] = set()
        self._script: deque[Scripted] = deque()
        self._always: Callable[[Recorded], Scripted] | None = None

    def clear(self) -> None:
        self.requests.clear()
        self.connections.clear()
        self._script.clear()
        self._always = None

    def answer(
        self,
        data: object = None,
        status: int = 200,
        *,
        body: bytes | None = None,
        is_lost: bool = False,
        times: int = 1,
        **headers: str,
    ) -> None:
        """Add an answer to the script: JSON, unless there is a body or no data."""
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        if body is None:
            body = b"" if data is None else json.dumps(data).encode()
            if data is not None:
                names.setdefault("content-type", "application/json")
        self._script.extend([Scripted(status, body, names, is_lost)] * times)

    def hang(self) -> None:
        """Add no answer: the request waits until the client ends it."""
        self._script.append(Scripted(status=0))

    def page(self, status: int = 200) -> None:
        """Add a page of HTML."""
        self.answer(status=status, body=b"<html>a page</html>", content_type="text/html")

    def always(self, answer: Callable[[Recorded], Scripted]) -> None:
        """Answer each request by a function."""
        self._always = answer

    @property
    def lines(self) -> list[str]:
        return [each.line for each in self.requests]

    @property
    def last(self) -> Recorded:
        return self.requests[-1]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            for kind in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{kind}.complete"})
            return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        self.connections.add(tuple(scope["client"]))
        request = Recorded(
            scope["method"],
            scope["raw_path"].decode(),
            scope["query_string"].decode(),
            {name.decode(): value.decode() for name, value in scope["headers"]},
            body,
        )
        self.requests.append(request)
        if self._always is not None:
            answer = self._always(request)
        else:
            answer = self._script.popleft() if self._script else Scripted(599, b"no script")
        if answer.status == 0:
            while (await receive())["type"] != "http.disconnect":
                pass
            return
        length = len(answer.body) + (10 if answer.is_lost else 0)
        headers = [(name.encode(), value.encode()) for name, value in answer.headers.items()]
        if answer.status != 204:
            headers.append((b"content-length", str(length).encode()))
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body, "more_body": answer.is_lost})


@contextmanager
def rest_server() -> Iterator[RestServer]:
    server = RestServer()
    with serve_app(server) as port:
        server.url = f"http://127.0.0.1:{port}"
        yield server


class FakeClock:
    """Time that passes at once; keeps what was ``slept``."""

    def __init__(self) -> None:
        self.time = 1000.0
        self.slept: list[float] = []

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds
