"""The REST client against the sandbox, which was built from the same sources by other hands."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from usercom_asgi.rest import (
    BadRequestError,
    CustomId,
    Email,
    Key,
    NotFoundError,
    Phone,
    UnauthorizedError,
    UnexpectedResponseError,
    UserComRest,
)
from usercom_asgi.rest.models import Line
from usercom_asgi.sandbox import Sandbox, serve

TOKEN = "sandbox-token"
ADA = CustomId("ada@1")

pytestmark = pytest.mark.skipif(
    "rest_token" not in inspect.signature(Sandbox).parameters,
    reason="needs a sandbox with the REST API",
)


@pytest.fixture
def url() -> Iterator[str]:
    pytest.importorskip("uvicorn", reason="needs the extra sandbox")
    settings: dict[str, Any] = {"rest_token": TOKEN, "rest_last_page_has_next": True}
    with serve(Sandbox(**settings)) as server:
        yield server.url


@pytest.fixture
async def rest(url: str) -> AsyncIterator[UserComRest]:
    async with UserComRest(base_url=url, token=TOKEN) as rest:
        await rest.attributes.ensure("plan")
        await rest.users.upsert(ADA, email="ada@shop.example", gender="female")
        yield rest


async def test_user_is_found_by_each_identifier(rest: UserComRest) -> None:
    user = await rest.users.update(ADA, phone_number="+48600100200", attributes={"plan": "pro"})
    assert user.user_key is not None
    assert user.id is not None
    identifiers: list[Any] = [
        user.id,
        ADA,
        Key(user.user_key),
        Email("ada@shop.example"),
        Phone("+48600100200"),
    ]
    for who in identifiers:
        found = await rest.users.get(who)
        assert (found.id, found.gender, found.attributes) == (user.id, "female", {"plan": "pro"})
    assert await rest.users.by_email("nobody@shop.example") == []
    assert await rest.users.by_phone("+4811") == []
    with pytest.raises(NotFoundError):
        await rest.users.get(Key("abc"))


async def test_verbs_are_taken_under_both_paths(rest: UserComRest) -> None:
    number = (await rest.users.get(ADA)).id
    assert number is not None
    vip = (await rest.lists.create("VIP")).id
    assert vip is not None
    for who in (number, ADA):
        await rest.users.set_attributes(who, {"plan": "pro"})
        await rest.users.add_tags(who, ["a", "b"])
        await rest.users.add_to_list(who, vip)
        user = await rest.users.get(who)
        assert [each.name for each in user.tags] == ["a", "b"]
        assert [each.id for each in user.lists] == [vip]
        for tag in ("a", "b"):
            await rest.users.remove_tag(who, tag)
        await rest.users.remove_from_list(who, vip)
        await rest.users.remove_attribute(who, "plan")
        user = await rest.users.get(who)
        assert (user.tags, user.lists, user.attributes.get("plan")) == ((), (), None)


async def test_events_orders_and_companies_are_read_again(rest: UserComRest) -> None:
    user = await rest.users.get(ADA)
    assert user.id is not None
    assert user.user_key is not None
    assert (await rest.events.create(user.id, "paid", {"sum": 10})).created
    assert not (await rest.events.create(ADA, "paid")).created
    await rest.site_views.create(Key(user.user_key), "https://shop.example/x")
    product = await rest.products.ensure("p1", name="Mug")
    assert (await rest.products.ensure("p1")).id == product.id
    await rest.product_events.create(ADA, CustomId("p1"), "purchase")
    order = await rest.deals.upsert(
        "o-7", name="#7", user_id=user.id, lines=[Line(product=CustomId("p1"), value=9.5)]
    )
    assert (await rest.deals.upsert("o-7", name="#8")).id == order.id
    for who in (user.id, ADA, Key(user.user_key)):
        assert [each.name async for each in rest.deals.list(user=who)] == ["#8"]
    company = await rest.companies.upsert("acme", name="Acme")
    assert (await rest.companies.upsert("acme", name="Acme 2")).id == company.id
    await rest.companies.add_member(CustomId("acme"), user.id)
    assert (await rest.companies.get(CustomId("acme"))).employees == (user.id,)
    for name, count in (("events", 2), ("product_events", 1), ("page_views", 1)):
        for who in (user.id, ADA):
            assert len([each async for each in getattr(rest.users, name)(who)]) == count


async def test_objects_that_a_call_returned_identify_themselves(rest: UserComRest) -> None:
    company = await rest.companies.upsert("acme", name="Acme")
    assert (await rest.companies.update(company, name="Acme 2")).name == "Acme 2"
    deal = await rest.deals.upsert("o-7", name="#7")
    assert (await rest.deals.get(deal)).name == "#7"
    product = await rest.products.ensure("p1", name="Mug")
    assert (await rest.products.update(product, name="Cup")).name == "Cup"
    tag = await rest.tags.create("vip")
    assert (await rest.tags.rename(tag, "VIP")).name == "VIP"
    listed = await rest.lists.create("News")
    assert (await rest.lists.update(listed, name="Letters")).name == "Letters"
    attribute = await rest.attributes.ensure("plan", "string")
    assert (await rest.attributes.get(attribute)).name == attribute.name


@pytest.mark.waits
async def test_list_of_several_pages_ends_though_the_last_next_is_404(rest: UserComRest) -> None:
    for n in range(101):
        await rest.users.create(email=f"u{n}@shop.example")
    found = [user.id async for user in rest.users.list()]
    assert len(set(found)) == len(found) == (await rest.users.list()).total == 102


async def test_merge_and_forget_leave_one_and_none(rest: UserComRest) -> None:
    other = await rest.users.create(email="old@shop.example", attributes={"plan": "pro"})
    assert other.id is not None
    await rest.users.merge(keep=ADA, others=[other.id])
    with pytest.raises(NotFoundError):
        await rest.users.get(other.id)
    for _ in range(2):
        await rest.users.forget(ADA)
    assert await rest.users.by_email("ada@shop.example") == []


async def test_errors_are_of_their_kinds(rest: UserComRest, url: str) -> None:
    with pytest.raises(BadRequestError) as raised:
        await rest.users.update(ADA, gender=9)
    assert raised.value.errors.keys() == {"gender"}
    with pytest.raises(NotFoundError):
        await rest.events.create(CustomId("nobody"), "paid")
    with pytest.raises(UnexpectedResponseError, match="the route is unknown"):
        await rest.request("GET", "nothing/here/")
    async with UserComRest(base_url=url, token="another-token") as stranger:
        with pytest.raises(UnauthorizedError):
            await stranger.users.get(ADA)
