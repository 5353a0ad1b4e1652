"""Guards ``rest/companies.py``."""

from __future__ import annotations

from typing import Any

import pytest
from helpers.rest_server import RestServer

from usercom_asgi import InvalidCommand
from usercom_asgi.rest import BadRequestError, CustomId, Email, UserComRest

NOT_FOUND: dict[str, Any] = {"detail": "Not found."}
ACME = {"id": 21, "custom_id": "acme-1", "name": "Acme"}


async def test_upsert_of_a_new_company_creates_it(rest: UserComRest, server: RestServer) -> None:
    server.answer(NOT_FOUND, 404)
    server.answer(ACME, 201)
    company = await rest.companies.upsert("acme-1", name="Acme", attributes={"tier": 1})
    assert company.id == 21
    assert server.lines == ["GET /companies-by-id/acme-1/", "POST /companies/"]
    assert server.last.json == {"custom_id": "acme-1", "name": "Acme", "tier": 1}


async def test_upsert_of_a_known_company_updates_it(rest: UserComRest, server: RestServer) -> None:
    server.answer(ACME)
    server.answer(ACME)
    await rest.companies.upsert(CustomId("acme-1"), name="Acme")
    assert server.lines == ["GET /companies-by-id/acme-1/", "PUT /companies/21/"]


async def test_upsert_that_comes_second_updates(rest: UserComRest, server: RestServer) -> None:
    """Two processes see a new company at the same time."""
    server.answer(NOT_FOUND, 404)
    server.answer({"errors": {"custom_id": ["Exists."]}}, 400)
    server.answer(ACME)
    server.answer(ACME)
    assert (await rest.companies.upsert("acme-1", name="Acme")).id == 21
    assert server.lines[-1] == "PUT /companies/21/"


async def test_upsert_with_invalid_values_raises(rest: UserComRest, server: RestServer) -> None:
    server.answer(NOT_FOUND, 404)
    server.answer({"errors": {"email": ["Invalid."]}}, 400)
    server.answer(NOT_FOUND, 404)
    with pytest.raises(BadRequestError):
        await rest.companies.upsert("acme-1", email="x")


async def test_verbs_send_their_bodies(rest: UserComRest, server: RestServer) -> None:
    server.answer({}, times=8)
    await rest.companies.add_member(21, CustomId("cust-52"))
    await rest.companies.remove_member(CustomId("acme-1"), 52)
    await rest.companies.add_tag(21, "vip")
    await rest.companies.remove_tag(CustomId("acme-1"), "vip")
    await rest.companies.set_attributes(21, {"tier": None})
    await rest.companies.update(21, name=None)
    await rest.companies.create(name="Acme")
    await rest.companies.delete(CustomId("acme-1"))
    assert [(each.line, each.body.decode()) for each in server.requests] == [
        ("POST /companies/21/add_member/", '{"user_custom_id": "cust-52"}'),
        ("POST /companies-by-id/acme-1/remove_member/", '{"user_id": 52}'),
        ("POST /companies/21/add_tag/", '{"name": "vip"}'),
        ("DELETE /companies-by-id/acme-1/remove_tag/", '{"name": "vip"}'),
        ("POST /companies/21/set_multiple_attributes/", '{"tier": null}'),
        ("PUT /companies/21/", '{"name": null}'),
        ("POST /companies/", '{"name": "Acme"}'),
        ("DELETE /companies-by-id/acme-1/", ""),
    ]


async def test_get_and_list_read_companies(rest: UserComRest, server: RestServer) -> None:
    server.answer(ACME)
    server.answer({"results": [ACME]})
    assert (await rest.companies.get(21)).name == "Acme"
    assert [each.id async for each in rest.companies.list()] == [21]
    assert server.lines == ["GET /companies/21/", "GET /companies/"]


async def test_companies_by_email_raises(rest: UserComRest) -> None:
    call: Any = rest.companies
    with pytest.raises(InvalidCommand, match="an int, Id or CustomId, got Email"):
        await call.get(Email("a@b.example"))
    with pytest.raises(InvalidCommand, match="got Email"):
        await call.add_member(21, Email("a@b.example"))
    with pytest.raises(InvalidCommand, match="must be text or a CustomId"):
        await call.upsert(21)
