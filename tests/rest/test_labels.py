"""Guards ``rest/labels.py``: tags, lists and segments."""

from __future__ import annotations

from typing import Any

import pytest
from helpers.rest_server import RestServer

from usercom_asgi import InvalidCommand
from usercom_asgi.rest import CustomId, Id, UserComRest

ROW = {"id": 5, "name": "beta", "users": [], "description": None}


async def test_tags_take_their_paths(rest: UserComRest, server: RestServer) -> None:
    server.answer(ROW, times=3)
    server.answer({"results": [ROW]}, times=3)
    assert (await rest.tags.create("beta")).id == 5
    await rest.tags.rename(Id(5), "gamma")
    await rest.tags.delete(5)
    assert (await rest.tags.list()).items[0].name == "beta"
    await rest.tags.users(5)
    await rest.tags.companies(5)
    assert server.lines == [
        "POST /tags/",
        "PUT /tags/5/",
        "DELETE /tags/5/",
        "GET /tags/",
        "GET /tags/5/users/",
        "GET /tags/5/companies/",
    ]


async def test_lists_leave_out_what_is_unset(rest: UserComRest, server: RestServer) -> None:
    server.answer(ROW, times=4)
    server.answer({"results": [ROW]})
    await rest.lists.create("VIP")
    await rest.lists.create("VIP", None)
    await rest.lists.update(5, description="x")
    await rest.lists.delete(5)
    assert (await rest.lists.list()).items[0].id == 5
    bodies = [each.json for each in server.requests[:3]]
    assert bodies == [{"name": "VIP"}, {"name": "VIP", "description": None}, {"description": "x"}]
    assert server.lines[3:] == ["DELETE /lists/5/", "GET /lists/"]


async def test_segments_list_their_users(rest: UserComRest, server: RestServer) -> None:
    server.answer({"results": [{**ROW, "too_heavy": False, "update_interval": 60}]})
    server.answer({"results": [{"id": 52}]})
    segment = (await rest.segments.list()).items[0]
    assert (segment.too_heavy, segment.update_interval) == (False, 60)
    assert [user.id async for user in rest.segments.users(5)] == [52]
    assert server.last.line == "GET /segments/5/users/"


async def test_labels_by_custom_id_raise(rest: UserComRest) -> None:
    tags: Any = rest.tags
    with pytest.raises(InvalidCommand, match="must be an int or Id, got CustomId"):
        await tags.rename(CustomId("x"), "y")
