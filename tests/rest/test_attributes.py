"""Guards ``rest/attributes.py``."""

from __future__ import annotations

from typing import Any

import pytest
from helpers.rest_server import RestServer

from usercom_asgi import InvalidCommand
from usercom_asgi.rest import BadRequestError, UserComRest

PLAN = {
    "id": 3,
    "name": "Plan name",
    "name_std": "plan_name",
    "value_type": "string",
    "content_type": "user",
}


def listed(server: RestServer, *rows: Any) -> None:
    server.answer({"count": len(rows), "next": None, "results": list(rows)})


@pytest.mark.parametrize("name", ["Plan name", "plan_name", "PLAN NAME"])
async def test_ensure_of_a_known_attribute_returns_it(
    rest: UserComRest, server: RestServer, name: str
) -> None:
    listed(server, {"name": "Plan name", "content_type": "company", "id": 2}, PLAN)
    assert (await rest.attributes.ensure(name)).id == 3
    assert server.lines == ["GET /attributes/"]


async def test_ensure_of_a_new_attribute_creates_it(rest: UserComRest, server: RestServer) -> None:
    listed(server, PLAN)
    server.answer({**PLAN, "id": 4}, 201)
    assert (await rest.attributes.ensure("seats", "integer", on="company")).id == 4
    assert server.last.json == {"name": "seats", "value_type": "integer", "content_type": "company"}


async def test_ensure_with_another_type_raises(rest: UserComRest, server: RestServer) -> None:
    listed(server, PLAN)
    with pytest.raises(InvalidCommand, match="value_type: must be 'string'"):
        await rest.attributes.ensure("plan_name", "integer")


async def test_ensure_that_comes_second_reads(rest: UserComRest, server: RestServer) -> None:
    listed(server)
    server.answer({"errors": {"name": ["Exists."]}}, 400)
    listed(server, PLAN)
    assert (await rest.attributes.ensure("Plan name")).id == 3
    listed(server)
    server.answer({"errors": {"name": ["No."]}}, 400)
    listed(server)
    with pytest.raises(BadRequestError):
        await rest.attributes.ensure("Plan name")


async def test_create_of_fixed_needs_choices(rest: UserComRest, server: RestServer) -> None:
    server.answer(PLAN, 201)
    await rest.attributes.create("size", "fixed", choices=["S", "L"])
    assert server.last.json["choices"] == ["S", "L"]
    assert server.last.json["allow_multiple_choices"] is False
    with pytest.raises(InvalidCommand, match="choices"):
        await rest.attributes.create("size", "fixed")
    with pytest.raises(InvalidCommand, match="1 to 32"):
        await rest.attributes.create("x" * 33)


async def test_get_delete_users_and_companies_take_their_paths(
    rest: UserComRest, server: RestServer
) -> None:
    server.answer(PLAN)
    server.answer(None, 204)
    listed(server, {"id": 52})
    listed(server, {"id": 21})
    await rest.attributes.get(3)
    await rest.attributes.delete(3)
    assert (await rest.attributes.users("plan_name")).items[0].id == 52
    assert (await rest.attributes.companies("plan_name")).items[0].id == 21
    assert server.lines == [
        "GET /attributes/3/",
        "DELETE /attributes/3/",
        "GET /attribute-type/plan_name/users/",
        "GET /attribute-type/plan_name/companies/",
    ]
