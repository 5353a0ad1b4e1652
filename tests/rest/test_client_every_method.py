"""Every public method of every resource against the sandbox, by all its paths."""

from __future__ import annotations

import inspect
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from helpers.fake_usercom import FakeUserCom

import usercom_asgi.rest as package
from usercom_asgi.rest import Call, CustomId, Email, Key, Phone, UserComRest
from usercom_asgi.rest.models import Line
from usercom_asgi.sandbox.vendor import REST_TOKEN

RESOURCES = (
    *("users", "companies", "events", "site_views", "products", "product_events"),
    *("deals", "attributes", "tags", "lists", "segments"),
)
ADA, ACME, MUG, ORDER = CustomId("ada"), CustomId("acme"), CustomId("mug"), CustomId("o-7")


class Noting:
    """A resource that notes which of its methods are taken."""

    def __init__(self, name: str, resource: object, taken: set[str]) -> None:
        self._name, self._resource, self._taken = name, resource, taken

    def __getattr__(self, method: str) -> Any:
        self._taken.add(f"{self._name}.{method}")
        return getattr(self._resource, method)


@pytest.fixture
def calls() -> list[Call]:
    return []


@pytest.fixture
async def rest(usercom: FakeUserCom, calls: list[Call]) -> AsyncIterator[UserComRest]:
    async with UserComRest(base_url=usercom.url, token=REST_TOKEN, on_call=calls.append) as rest:
        yield rest


def methods(rest: UserComRest) -> set[str]:
    return {
        f"{name}.{method}"
        for name in RESOURCES
        for method, value in inspect.getmembers(type(getattr(rest, name)), callable)
        if not method.startswith("_") and inspect.isfunction(value)
    }


def routes_in_the_source() -> set[str]:
    """Return the templates in the client's text, which are not put together."""
    text = "".join(path.read_text() for path in Path(package.__path__[0]).glob("*.py"))
    return {
        template
        for template in re.findall(r'"(/[a-z-]+/[a-z:_/-]*)"', text)
        if not re.fullmatch(r"/api/public/?|.*:part/|/[a-z]+-by-id/", template)
    }


async def test_client_every_method_is_answered_by_the_sandbox(
    rest: UserComRest, usercom: FakeUserCom, calls: list[Call]
) -> None:
    taken: set[str] = set()
    r: Any = type("Rest", (), {n: Noting(n, getattr(rest, n), taken) for n in RESOURCES})

    plan = await r.attributes.create("plan", "string")
    assert (await r.attributes.ensure("plan")).id == plan.id
    assert (await r.attributes.get(plan.id)).name == "plan"
    tier = await r.attributes.create("tier", "fixed", on="company", choices=["s", "l"])
    assert {each.id async for each in r.attributes.list()} == {plan.id, tier.id}

    await r.users.upsert(
        ADA, email="ada@x.example", phone_number="+48600100200", attributes={"plan": "pro"}
    )
    ada = await r.users.get(ADA)
    for who in (ada, Key(ada.user_key), Email("ada@x.example"), Phone("+48600100200")):
        assert (await r.users.get(who)).id == ada.id
    assert [each.id for each in await r.users.by_email("ada@x.example")] == [ada.id]
    assert [each.id for each in await r.users.by_phone("+48600100200")] == [ada.id]
    assert [each.id async for each in r.users.list(email__contains="ada")] == [ada.id]
    assert [each.id async for each in r.users.search(plan__icontains="PRO")] == [ada.id]
    assert [each.id async for each in r.users.by_date("updated_at", since=1)] == [ada.id]
    assert [each.id async for each in r.attributes.users("plan")] == [ada.id]
    bob = await r.users.create(email="bob@x.example", custom_id="bob")
    news = await r.lists.create("news")
    for who in (ada, ADA):
        await r.users.update(who, first_name="Ada", gender="female")
        await r.users.set_attributes(who, {"plan": "gold"})
        await r.users.add_tag(who, "beta")
        await r.users.add_tags(who, ["one", "two"])
        await r.users.remove_tag(who, "two")
        await r.users.add_to_list(who, news.id)
        assert [each.id for each in (await r.users.get(who)).lists] == [news.id]
        await r.users.remove_from_list(who, news.id)
        await r.users.remove_attribute(who, "plan")
    assert {each.name for each in (await r.users.get(ada)).tags} == {"beta", "one"}
    await r.users.update_many([ada, bob], "plan", "free")
    await r.users.update_many([ADA], "score", 3, is_standard=True)
    assert (await r.users.get(bob)).attributes["plan"] == "free"

    await r.products.create(custom_id="mug", name="Mug", price=9.5)
    mug = await r.products.ensure(MUG)
    for what in (mug.id, MUG):
        await r.products.update(what, price=9.0)
        assert (await r.products.get(what)).custom_id == "mug"
        await r.product_events.create(ADA, what, "purchase", {"n": 1})
        await r.events.create(ADA if what is MUG else ada, "paid", {"sum": 10})
    assert [each.id async for each in r.products.list()] == [mug.id]
    await r.site_views.create(ada, "https://shop.example/x")
    await r.site_views.create(Key(ada.user_key), "https://shop.example/y")
    for who in (ada, ADA):
        rows = {
            name: len([each async for each in getattr(r.users, name)(who)])
            for name in ("events", "product_events", "page_views", "emails", "segments")
        }
        assert rows == {
            "events": 2, "product_events": 2, "page_views": 2, "emails": 0, "segments": 0,
        }  # fmt: skip
        assert [each async for each in r.users.timeline(who)]

    acme = await r.companies.create(custom_id="acme", name="Acme")
    assert (await r.companies.upsert("acme", city="Gdynia")).id == acme.id
    assert [each.id async for each in r.companies.list()] == [acme.id]
    for what in (acme.id, ACME):
        await r.companies.update(what, name="Acme")
        await r.companies.set_attributes(what, {"tier": "s"})
        await r.companies.add_member(what, ADA)
        assert (await r.companies.get(what)).employees == (ada.id,)
        await r.companies.remove_member(what, ada)
        await r.companies.add_tag(what, "beta")
        await r.companies.remove_tag(what, "beta")
    await r.companies.add_tag(ACME, "beta")
    [beta] = [each async for each in r.tags.list() if each.name == "beta"]
    assert [each.id async for each in r.tags.users(beta.id)] == [ada.id]
    assert [each.id async for each in r.tags.companies(beta.id)] == [acme.id]
    assert [each.id async for each in r.attributes.companies("tier")] == [acme.id]
    gold = await r.tags.create("gold")
    await r.tags.rename(gold.id, "silver")
    await r.tags.delete(gold.id)
    await r.lists.update(news.id, description="monthly")
    assert [each.description async for each in r.lists.list()] == ["monthly"]
    await r.lists.delete(news.id)

    first = await r.deals.create(name="one", user_id=ada.id)
    line = Line(product=MUG, quantity=2, value=9.5)
    order = await r.deals.upsert("o-7", name="#7", user_custom_id="ada", lines=[line])
    for what in (order.id, ORDER):
        await r.deals.update(what, status=2)
        assert (await r.deals.get(what)).status == 2
    for who in (ada, ADA, Key(ada.user_key)):
        assert {each.id async for each in r.deals.list(user=who)} == {first.id, order.id}
    await r.deals.delete(first.id)
    await r.deals.delete(ORDER)

    with usercom.store.lock:
        usercom.store.segments[1] = _segment(ada.id)
    assert [each.id async for each in r.segments.list()] == [1]
    assert [each.id async for each in r.segments.users(1)] == [ada.id]
    await r.companies.delete(ACME)
    await r.attributes.delete(tier.id)
    await r.users.merge(keep=ada, others=[bob])
    await r.users.forget(bob)
    await r.users.delete(ADA)

    assert taken == methods(rest)
    assert routes_in_the_source() - {each.route for each in calls} == set()
    assert {each.status for each in calls} <= {200, 201, 204, 404}
    assert not [each for each in usercom.store.rejected if each.status != 404]


def _segment(*user_ids: int) -> Any:
    from usercom_asgi.sandbox.objects import Segment

    return Segment(id=1, name="Friends", user_ids=[*user_ids])
