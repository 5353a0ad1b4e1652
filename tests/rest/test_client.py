"""Guards ``rest/client.py``: configuration, views, secrets, and what an import costs."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from helpers.rest_server import TOKEN, RestServer

from usercom_asgi import ConfigurationError, InvalidCommand, UserComConfig
from usercom_asgi.api import client as module
from usercom_asgi.rest import (
    CustomId,
    NotFoundError,
    RejectedError,
    UnauthorizedError,
    UserComRest,
)

if TYPE_CHECKING:
    import httpx2 as httpx
else:
    httpx = module.httpx


def test_from_config_takes_address_token_and_timeout() -> None:
    config = UserComConfig(app="acme", api_key="ABC123", rest_token=TOKEN, timeout=3)
    rest = UserComRest.from_config(config, retries=0)
    assert rest._caller.options.timeout == 3
    assert rest._caller.options.retries == 0
    assert repr(rest) == "UserComRest('https://acme.user.com')"
    with pytest.raises(ConfigurationError, match="set USERCOM_REST_TOKEN"):
        UserComRest.from_config(UserComConfig(app="acme", api_key="ABC123"))


def test_client_cannot_be_pickled_or_copied_deeply() -> None:
    rest = UserComRest(subdomain="acme", token=TOKEN)
    for made in (rest, rest.with_options(retries=0), rest.users):
        with pytest.raises(TypeError, match="it holds the token"):
            pickle.dumps(made)
        with pytest.raises(TypeError):
            copy.deepcopy(made)
    seen = [repr(each) for each in (vars(rest), rest._caller, vars(rest._caller.session))]
    assert TOKEN not in "".join(seen)


async def test_with_options_is_a_view_that_does_not_close(
    rest: UserComRest, server: RestServer
) -> None:
    server.answer({"id": 52}, times=3)
    async with rest.with_options(timeout=60, retries=0) as view:
        assert view._caller.session is rest._caller.session
        assert (view._caller.options.timeout, view._caller.options.retries) == (60, 0)
        assert rest._caller.options.retries == 2
        await view.users.get(52)
    await rest.users.get(52)
    assert len(server.connections) == 1
    with pytest.raises(ConfigurationError):
        rest.with_options(retries=11)


async def test_client_works_without_a_block_and_again_after_aclose(server: RestServer) -> None:
    rest = UserComRest(base_url=server.url, token=TOKEN)
    await rest.aclose()
    for _ in range(2):
        server.answer({"id": 52}, times=2)
        assert (await rest.users.get(52)).id == 52
        await rest.aclose()


async def test_first_calls_at_the_same_time_share_one_client(server: RestServer) -> None:
    server.answer({"id": 52}, times=4)
    async with (
        UserComRest(base_url=server.url, token=TOKEN) as rest,
        anyio.create_task_group() as tasks,
    ):
        for _ in range(4):
            tasks.start_soon(rest.users.get, 52)
    assert len(server.requests) == 4


async def test_resources_are_made_once(rest: UserComRest) -> None:
    names = [
        *("users", "companies", "events", "products", "product_events", "deals"),
        *("attributes", "tags", "lists", "segments", "site_views"),
    ]
    for name in names:
        assert getattr(rest, name) is getattr(rest, name)


@pytest.mark.parametrize(
    ("path", "sent", "shown"),
    [
        ("notes/", "/notes/", "/notes/"),
        ("/notes", "/notes/", "/notes/"),
        ("users/52/notes/", "/users/52/notes/", "/users/:part/notes/"),
        ("users-by-id/adam/notes", "/users-by-id/adam/notes/", "/users-by-id/:part/notes/"),
        ("users-by-id/a%2Fb/x/7", "/users-by-id/a%2Fb/x/7/", "/users-by-id/:part/x/:part_/"),
        ("users/ada@shop.example/", "/users/ada%40shop.example/", "/users/:part/"),
    ],
)
async def test_request_shows_no_value_of_the_path(
    rest: UserComRest, server: RestServer, path: str, sent: str, shown: str
) -> None:
    server.answer({"detail": "Not found."}, 404)
    with pytest.raises(NotFoundError) as raised:
        await rest.request("GET", path)
    assert server.last.path == f"/api/public{sent}"
    assert raised.value.path == shown


async def test_request_returns_the_answer(rest: UserComRest, server: RestServer) -> None:
    server.answer({"id": 5}, 201, x_request_id="7")
    answer = await rest.request(
        "POST", "notes/:id/", parts={"id": 5}, query={"a": "b c"}, body={"text": None}
    )
    assert (answer.status, answer.json, answer.content) == (201, {"id": 5}, b'{"id": 5}')
    assert answer.headers["x-request-id"] == "7"
    assert server.last.line == "POST /notes/5/?a=b%20c"
    assert server.last.json == {"text": None}
    server.answer(body=b"<p>", content_type="text/html")
    answer = await rest.request("GET", "email-campaign/:id", parts={"id": 5}, slash=False)
    assert (answer.json, answer.content) == (None, b"<p>")
    assert server.last.line == "GET /email-campaign/5"


@pytest.mark.parametrize(("is_repeatable", "calls"), [(None, 1), (True, 2), (False, 1)])
async def test_request_post_is_repeated_only_if_it_may_be(
    rest: UserComRest, server: RestServer, *, is_repeatable: bool | None, calls: int
) -> None:
    server.answer({}, 503)
    server.answer({})
    if calls == 1:
        with pytest.raises(Exception, match="503"):
            await rest.request("POST", "notes/", is_repeatable=is_repeatable)
    else:
        await rest.request("POST", "notes/", is_repeatable=is_repeatable)
    assert len(server.requests) == calls


BAD_PATHS: list[Any] = [
    *("", "/", "//evil.example/", "https://evil.example/", "../event/", "a/../../event/"),
    *("a/%2e%2e/b", "a/./b", "a?b=c", "a#b", "a b", "a\r\nb", "a\\b", "ü/", None, "a//b"),
]


@pytest.mark.parametrize("path", BAD_PATHS)
async def test_request_to_another_place_raises_without_a_call(
    rest: UserComRest, server: RestServer, path: Any
) -> None:
    with pytest.raises(InvalidCommand, match="must be a path below /api/public/"):
        await rest.request("GET", path)
    with pytest.raises(InvalidCommand, match="a verb in capitals"):
        await rest.request("get", "notes/")
    assert server.requests == []


async def test_client_is_mocked_by_a_transport() -> None:
    """As an application's own tests do it, without a server."""
    requests: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        if request.method == "DELETE":
            return httpx.Response(401, json={"detail": "Invalid token."})
        return httpx.Response(200, json={"id": 52, "plan": "pro"})

    transport = httpx.MockTransport(answer)
    async with UserComRest(subdomain="acme", token=TOKEN, transport=transport) as rest:
        user = await rest.users.update(CustomId("cust-52"), attributes={"plan": "pro"})
        with pytest.raises(UnauthorizedError):
            await rest.users.forget(52)
    assert user.attributes == {"plan": "pro"}
    assert [str(each.url) for each in requests] == [
        "https://acme.user.com/api/public/users-by-id/cust-52/",
        "https://acme.user.com/api/public/users/52/",
    ]
    assert requests[0].read() == b'{"plan": "pro"}'
    assert requests[0].headers["authorization"] == f"Token {TOKEN}"


@pytest.mark.skipif(httpx.__name__ != "httpx2", reason="mocks httpx2")
async def test_client_is_mocked_by_respx(request: pytest.FixtureRequest) -> None:
    """pytest-httpx2 and respx replace the connections of our transports, too."""
    pytest.importorskip("pytest_httpx2", reason="needs pytest-httpx2")
    mock: Any = request.getfixturevalue("httpx2_mock")
    base = "https://acme.user.com/api/public"
    user = mock.get(f"{base}/users/52/").respond(json={"id": 52})
    mock.post(f"{base}/events/").respond(404, json={"detail": "Not found."})
    async with UserComRest(subdomain="acme", token=TOKEN) as rest:
        assert (await rest.users.get(52)).id == 52
        with pytest.raises(NotFoundError):
            await rest.events.create(53, "paid")
    assert user.calls.last.request.headers["authorization"] == f"Token {TOKEN}"


async def test_client_mock_that_cannot_connect_is_not_sent() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    rest = UserComRest(
        subdomain="acme", token=TOKEN, retries=0, transport=httpx.MockTransport(refuse)
    )
    with pytest.raises(Exception, match="not sent: ConnectError") as raised:
        await rest.events.create(52, "paid")
    assert not isinstance(raised.value, RejectedError)


def run(code: str) -> str:
    environ = {name: value for name, value in os.environ.items() if "COVERAGE" not in name}
    environ.pop("PYTHONDONTWRITEBYTECODE", None)
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environ)
    return done.stdout.strip()


def test_package_import_does_not_load_the_rest_client() -> None:
    code = "import sys, usercom_asgi; print([m for m in sys.modules if 'usercom_asgi.rest' in m])"
    assert run(code) == "[]"


@pytest.mark.slow
def test_import_of_the_rest_client_is_cheap() -> None:
    """At most 15 modules and 30 ms of CPU time, beyond those of the package."""
    code = (
        "import sys, time, usercom_asgi\n"
        "before, began = set(sys.modules), time.process_time()\n"
        "import usercom_asgi.rest\n"
        "seconds = time.process_time() - began\n"
        "print(len(set(sys.modules) - before), seconds)\n"
    )
    # The least of several, because other programs slow the caches down: it was 32 ms
    # on a busy machine, and 16 on an idle one.
    figures = [run(code).split() for _ in range(5)]
    assert int(figures[0][0]) <= 15
    assert min(float(seconds) for _, seconds in figures) <= 0.045
