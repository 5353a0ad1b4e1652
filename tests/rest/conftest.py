from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from helpers.rest_server import TOKEN, FakeClock, RestServer, rest_server

from usercom_asgi.rest import UserComRest


@pytest.fixture(scope="session")
def _rest_server() -> Iterator[RestServer]:
    with rest_server() as server:
        yield server


@pytest.fixture
def server(_rest_server: RestServer) -> RestServer:
    _rest_server.clear()
    return _rest_server


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def rest(server: RestServer, clock: FakeClock) -> AsyncIterator[UserComRest]:
    """A client of the scripted server, in whose time no wait lasts."""
    async with UserComRest(base_url=server.url, token=TOKEN) as rest:
        rest._caller.session.clock = clock  # type: ignore[assignment]
        yield rest
