"""Each request has a state of its own, whatever the server shares."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from subprocess import Popen
from typing import Any

import anyio
import httpx
import pytest
from helpers.asgi_client import call, html, lifespan
from helpers.fake_usercom import CONFIG
from helpers.serving import free_port
from helpers.waiting import until_sync
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from usercom_asgi import UserComClient, UserComMiddleware, Visitor, get_visitor

PAGE = b"<html><body></body></html>"


class Meeting:
    """An application that answers once two requests are in it at the same time."""

    def __init__(self) -> None:
        self.states: list[dict[str, Any]] = []
        self.visitors: list[Visitor] = []
        self._both = anyio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            for moment in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{moment}.complete"})
            return
        connection = HTTPConnection(scope)
        first = connection.state.usercom
        connection.state.path = scope["path"]
        self.states.append(scope["state"])
        if len(self.states) == 2:
            self._both.set()
        await self._both.wait()
        assert connection.state.usercom is first is get_visitor(scope)
        self.visitors.append(first)
        await html(PAGE)(scope, receive, send)


async def call_both(app: ASGIApp, state: dict[str, Any]) -> None:
    async with anyio.create_task_group() as tasks:
        for path in ("/a", "/b"):
            tasks.start_soon(partial(call, app, path, state=state))


@pytest.mark.parametrize("with_client", [False, True])
async def test_own_state_when_the_server_shares_that_of_the_lifespan_is_a_copy(
    with_client: bool,
) -> None:
    app = Meeting()
    middleware = (
        UserComMiddleware(app, client=UserComClient(CONFIG))
        if with_client
        else UserComMiddleware(app, CONFIG)
    )
    async with lifespan(middleware, {"pool": "shared"}) as state:
        await call_both(middleware, state)
        assert "usercom" not in state
    assert app.visitors[0] is not app.visitors[1]
    # The application's own values are kept apart as well, and those of the lifespan are there.
    assert sorted(each["path"] for each in app.states) == ["/a", "/b"]
    assert [each["pool"] for each in app.states] == ["shared", "shared"]


async def test_own_state_when_the_server_shares_that_of_a_connection_keeps_visitors_apart() -> None:
    app = Meeting()
    async with lifespan(UserComMiddleware(app, CONFIG)) as state:
        await call_both(UserComMiddleware(app, CONFIG), dict(state))
    assert app.visitors[0] is not app.visitors[1]


async def test_own_state_when_mounted_without_a_lifespan_keeps_visitors_apart() -> None:
    app = Meeting()
    await call_both(UserComMiddleware(app, CONFIG), {"pool": "shared"})
    assert app.visitors[0] is not app.visitors[1]


@pytest.mark.parametrize("state", [None, {"pool": "of this request"}])
async def test_own_state_when_the_request_already_has_one_is_the_same_dict(
    state: dict[str, Any] | None,
) -> None:
    """A middleware further out has made its `request.state` before, and reads there what the application writes."""
    seen: list[Any] = []

    async def endpoint(scope: Scope, receive: Receive, send: Send) -> None:
        HTTPConnection(scope).state.user = "alice"
        await html(PAGE)(scope, receive, send)

    inner = UserComMiddleware(endpoint, CONFIG)

    async def outer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await inner(scope, receive, send)
            return
        connection = HTTPConnection(scope)
        connection.state.started = True
        await inner(scope, receive, send)
        seen.append((connection.state.user, connection.state.usercom, get_visitor(scope)))

    async with lifespan(outer) as of_lifespan:
        given: dict[str, Any] = {} if state is None else {"state": {**of_lifespan, **state}}
        await call(outer, **given)
    [(user, visitor, same)] = seen
    assert user == "alice"
    assert visitor is same


# -- Real servers --

APP = """
import anyio
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import JSONResponse
from starlette.routing import Route
from usercom_asgi import UserComConfig, UserComMiddleware

inside = []

async def home(request):
    if "meet" in request.query_params:  # the answers wait until both requests have their visitors
        inside.append(request)
        with anyio.fail_after(30):
            while len(inside) < 2:
                await anyio.sleep(0.01)
    visitor = request.state.usercom
    await visitor._session.resolve_identity()
    return JSONResponse([visitor.key, visitor.user_id])

app = Starlette(
    routes=[Route("/", home)],
    middleware=[
        Middleware(
            UserComMiddleware,
            config=UserComConfig(app="acme", api_key="ABC123", secret_keys=("0123456789abcdef",)),
            identify=lambda connection: {"user_id": connection.cookies["user"]} if "user" in connection.cookies else None,
        )
    ],
)
"""


@contextmanager
def served(folder: Path, command: list[str]) -> Iterator[str]:
    (folder / "shared_app.py").write_text(APP)
    port = free_port()
    process = Popen(
        [sys.executable, "-m", *(each.format(port=port) for each in command)], cwd=folder
    )
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        assert process.poll() is None, "the server did not start"
        try:
            # `verify=False`, because reading the certificates takes 70 ms.
            return httpx.get(url, verify=False).status_code == 200
        except httpx.TransportError:
            return False

    try:
        until_sync(answers, 90)  # an interpreter is started, maybe beside many others
        yield url
    finally:
        process.terminate()
        process.wait(30)


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        ["uvicorn", "shared_app:app", "--port={port}", "--log-level=warning"],
        ["hypercorn", "shared_app:app", "--bind=127.0.0.1:{port}"],
        ["hypercorn", "shared_app:app", "--bind=127.0.0.1:{port}", "--worker-class=trio"],
    ],
    ids=["uvicorn", "hypercorn", "hypercorn on trio"],
)
def test_own_state_of_requests_on_one_connection_is_separate(
    command: list[str], tmp_path: Path
) -> None:
    """A proxy sends the requests of many browsers on one connection."""
    if command[0] == "uvicorn":
        pytest.importorskip("uvicorn", reason="needs the extra sandbox")
    with served(tmp_path, command) as url, httpx.Client(base_url=url) as proxy:
        answers = [
            proxy.get("/", headers={"cookie": cookie}).json()
            for cookie in ("__ca__chat=alice0; user=alice", "__ca__chat=bob000; user=bob", "a=b")
        ]
    assert answers == [["alice0", "alice"], ["bob000", "bob"], [None, None]]


@pytest.mark.slow
@pytest.mark.parametrize("worker", ["asyncio", "trio"])
async def test_own_state_of_concurrent_requests_on_one_connection_is_separate(
    worker: str, tmp_path: Path
) -> None:
    """HTTP/2, which has a connection carry requests at the same time; the lowest Hypercorn shares the state of a connection."""
    answers: dict[str, Any] = {}

    async def get(client: httpx.AsyncClient, who: str) -> None:
        got = await client.get("/?meet", headers={"cookie": f"__ca__chat={who}00; user={who}"})
        answers[who] = (got.http_version, got.json())

    with served(
        tmp_path,
        ["hypercorn", "shared_app:app", "--bind=127.0.0.1:{port}", f"--worker-class={worker}"],
    ) as url:
        async with (
            httpx.AsyncClient(base_url=url, http1=False, http2=True, timeout=60) as client,
            anyio.create_task_group() as tasks,
        ):
            for who in ("alice", "bob"):
                tasks.start_soon(get, client, who)
    assert answers == {who: ("HTTP/2", [f"{who}00", who]) for who in ("alice", "bob")}
