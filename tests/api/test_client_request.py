"""Guards ``ApiClient.request``: any verb, and the whole response."""

from __future__ import annotations

import gzip
import traceback
from collections.abc import Iterator

import anyio
import anyio.abc
import pytest
from helpers.rest_server import RestServer, rest_server

from usercom_asgi import UserComConfig
from usercom_asgi.api.client import ApiClient
from usercom_asgi.core.exceptions import RejectedError, UnavailableError

SECRET = "s3cret-of-the-workspace"


class Credentials:
    def headers(self) -> dict[str, str]:
        return {"Authorization": SECRET}


@pytest.fixture(scope="module")
def server() -> Iterator[RestServer]:
    with rest_server() as server:
        yield server


@pytest.fixture
def client(server: RestServer) -> ApiClient:
    server.clear()
    return ApiClient(UserComConfig(base_url=server.url, api_key="ABC123", timeout=5), None)


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH"])
async def test_request_sends_verb_body_and_credentials(
    server: RestServer, client: ApiClient, method: str
) -> None:
    server.answer({"a": 1}, 404, x_kind="test")
    response = await client.request(
        method, "/x/?a=b", {"X-A": "1"}, b"body", credentials=Credentials()
    )
    assert (response.status, response.body, response.is_complete) == (404, b'{"a": 1}', True)
    assert response.headers["x-kind"] == "test"
    assert server.last.method == method
    assert (server.last.path, server.last.query, server.last.body) == ("/x/", "a=b", b"body")
    assert server.last.headers["authorization"] == SECRET
    assert server.last.headers["x-a"] == "1"
    await client.aclose()


async def test_request_without_a_body_has_length_zero_except_for_get(
    server: RestServer, client: ApiClient
) -> None:
    server.answer({}, times=2)
    await client.request("GET", "/x/", {})
    assert not server.last.headers.keys() & {"content-length", "transfer-encoding"}
    await client.request("DELETE", "/x/", {})
    assert server.last.headers["content-length"] == "0"
    assert len(server.connections) == 1
    await client.aclose()


async def test_request_new_connection_is_not_kept(server: RestServer, client: ApiClient) -> None:
    server.answer({}, times=3)
    for _ in range(3):
        await client.request("POST", "/x/", {}, is_new=True)
    assert len(server.connections) == 3
    await client.aclose()


async def test_request_response_over_the_limit_is_marked(
    server: RestServer, client: ApiClient
) -> None:
    server.answer(body=b"x" * 100)
    server.answer(body=gzip.compress(b"x" * 1000))
    for _ in range(2):
        response = await client.request("GET", "/x/", {}, max_body=50)
        assert response.is_too_large
        assert len(response.body) == 50
    server.answer(body=b"x" * 50)
    assert not (await client.request("GET", "/x/", {}, max_body=50)).is_too_large
    await client.aclose()


async def test_request_body_that_breaks_off_is_marked(
    server: RestServer, client: ApiClient
) -> None:
    server.answer({"a": 1}, 201, is_lost=True)
    response = await client.request("GET", "/x/", {})
    assert (response.status, response.is_complete, response.is_too_large) == (201, False, False)
    await client.aclose()


async def test_request_that_fails_keeps_no_frame_with_credentials(
    server: RestServer, client: ApiClient
) -> None:
    server.hang()
    with pytest.raises(UnavailableError, match="GET /:x/: ReadTimeout") as lost:
        await client.request(
            "GET", "/ada/", {}, credentials=Credentials(), name="/:x/", timeout=0.05
        )
    with pytest.raises(RejectedError, match="GET /:x/: the address is too long") as long:
        await client.request("GET", "/" * 70_000, {}, credentials=Credentials(), name="/:x/")
    for error in (lost.value, long.value):
        made = traceback.TracebackException.from_exception(error, capture_locals=True)
        assert SECRET not in "".join(made.format())
        assert (error.__cause__, error.__context__) == (None, None)
        assert "ada" not in str(error)
    await client.aclose()


async def test_request_timeout_of_its_own_bounds_the_call(server: RestServer) -> None:
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")

    async def silent(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await anyio.sleep(20)

    port = listener.extra(anyio.abc.SocketAttribute.local_port)
    config = UserComConfig(base_url=f"http://127.0.0.1:{port}", api_key="ABC123", timeout=10)
    client = ApiClient(config, None)
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, silent)
        with anyio.fail_after(5), pytest.raises(UnavailableError, match="ReadTimeout"):
            await client.request("GET", "/x/", {}, timeout=0.1)
        tasks.cancel_scope.cancel()
    await client.aclose()
