"""Guards ``rest/events.py``."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from helpers.rest_server import RestServer

from usercom_asgi import InvalidCommand
from usercom_asgi.rest import CustomId, Email, Key, UnexpectedResponseError, UserComRest

AT = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)


async def test_create_by_id_names_the_user_in_the_body(
    rest: UserComRest, server: RestServer
) -> None:
    server.answer({"id": 86, "created": True})
    event = await rest.events.create(52, "paid", {"sum": 10}, timestamp=AT)
    assert (event.id, event.created) == (86, True)
    assert server.last.line == "POST /events/"
    assert server.last.json == {
        "name": "paid",
        "data": {"sum": 10},
        "timestamp": 1893553445,
        "user_id": 52,
    }


async def test_create_by_custom_id_names_the_user_in_the_path(
    rest: UserComRest, server: RestServer
) -> None:
    server.answer({"id": 86, "created": False})
    await rest.events.create(CustomId("cust-52"), "paid")
    assert server.last.line == "POST /users-by-id/cust-52/events/"
    assert server.last.json == {"name": "paid"}


async def test_create_by_key_looks_the_user_up(rest: UserComRest, server: RestServer) -> None:
    server.answer({"id": 52})
    server.answer({"id": 86})
    await rest.events.create(Key("k3v9"), "paid")
    assert server.lines == ["GET /users/search/?key=k3v9", "POST /events/"]
    server.answer({"email": "a@b.example"})
    with pytest.raises(UnexpectedResponseError, match="without id"):
        await rest.events.create(Email("a@b.example"), "paid")


async def test_create_without_a_name_raises(rest: UserComRest) -> None:
    with pytest.raises(InvalidCommand, match="name: must be"):
        await rest.events.create(52, " ")


async def test_site_view_goes_by_the_key(rest: UserComRest, server: RestServer) -> None:
    server.answer(body=b"ok")
    await rest.site_views.create(Key("k3v9"), "https://shop.example/x?y=1", timestamp=AT)
    assert server.last.line == "POST /site-views/"
    assert server.last.json == {
        "client_user": "k3v9",
        "page_domain": "https://shop.example/x?y=1",
        "page_path": "/x",
        "timestamp": "2030-01-02T03:04:05+00:00",
    }


async def test_site_view_of_a_user_looks_the_key_up(rest: UserComRest, server: RestServer) -> None:
    server.answer({"id": 52, "user_key": "k3v9"})
    server.answer(None, 201)
    await rest.site_views.create(52, "https://shop.example")
    assert server.last.json["client_user"] == "k3v9"
    assert server.last.json["page_path"] == "/"
    server.answer({"id": 52, "user_key": None})
    with pytest.raises(UnexpectedResponseError, match="without a user key"):
        await rest.site_views.create(52, "https://shop.example")
    bad: Any = "/x"
    with pytest.raises(InvalidCommand, match="full address"):
        await rest.site_views.create(52, bad)
