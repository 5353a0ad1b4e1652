"""Guards ``rest/users.py``."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from helpers.rest_server import RestServer

from usercom_asgi import InvalidCommand
from usercom_asgi.rest import (
    UNSET,
    AmbiguousError,
    CustomId,
    Email,
    Id,
    Key,
    NotFoundError,
    Phone,
    UnexpectedResponseError,
    UserComRest,
)
from usercom_asgi.rest.models import User, UserList

#: As recorded from a live workspace in 2022 (v2), with invented values.
USER: dict[str, Any] = {
    "id": 52,
    "user_key": "k3v9x0q2m7ab",
    "custom_id": "cust-52",
    "email": "ada@shop.example",
    "name": "Ada Nowak",
    "gender": "unknown",
    "status": "visitor",
    "tags": [{"id": 5, "name": "beta"}],
    "lists": None,
    "plan": "pro",
}


async def test_get_by_id_reads_the_user(rest: UserComRest, server: RestServer) -> None:
    for who in (52, Id(52)):
        server.answer(USER)
        user = await rest.users.get(who)
        assert (user.id, user.email, user.attributes) == (52, "ada@shop.example", {"plan": "pro"})
        assert server.last.line == "GET /users/52/"
        assert user.raw == USER


async def test_get_by_custom_id_takes_the_other_path(rest: UserComRest, server: RestServer) -> None:
    server.answer(USER)
    assert (await rest.users.get(CustomId("a/b@c"))).custom_id == "cust-52"
    assert server.last.line == "GET /users-by-id/a%2Fb%40c/"


@pytest.mark.parametrize(
    ("who", "answer", "line"),
    [
        (Key("k3v9x0q2m7ab"), USER, "GET /users/search/?key=k3v9x0q2m7ab"),
        (Email("a+b@c.example"), [USER], "GET /users/search/?email=a%2Bb%40c.example&many=true"),
        (Email("a@c.example"), USER, "GET /users/search/?email=a%40c.example&many=true"),
        (Phone("+48600"), {"results": [USER]}, "GET /users/search/?phone_number=%2B48600"),
        (Phone("+48600"), USER, "GET /users/search/?phone_number=%2B48600"),
    ],
)
async def test_get_by_look_up_finds_one(
    rest: UserComRest, server: RestServer, who: Any, answer: Any, line: str
) -> None:
    server.answer(answer)
    assert (await rest.users.get(who)).id == 52
    assert server.last.line == line


@pytest.mark.parametrize("answer", [[], {"results": []}, None, {}])
async def test_get_by_look_up_with_none_raises_not_found(
    rest: UserComRest, server: RestServer, answer: Any
) -> None:
    server.answer(answer)
    with pytest.raises(NotFoundError) as raised:
        await rest.users.get(Email("ada@shop.example"))
    assert "ada" not in str(raised.value)
    server.answer({"detail": "Not found."}, 404)
    with pytest.raises(NotFoundError, match="GET /users/search/ answered 404: Not found"):
        await rest.users.get(Email("ada@shop.example"))


async def test_get_by_email_of_several_raises_ambiguous(
    rest: UserComRest, server: RestServer
) -> None:
    server.answer([USER, {**USER, "id": 53}])
    with pytest.raises(AmbiguousError) as raised:
        await rest.users.get(Email("ada@shop.example"))
    assert raised.value.ids == (52, 53)
    server.answer([USER, {**USER, "id": 53}])
    assert [user.id for user in await rest.users.by_email("ada@shop.example")] == [52, 53]


async def test_by_email_and_by_phone_without_users_are_empty(
    rest: UserComRest, server: RestServer
) -> None:
    for _ in range(2):
        server.answer({"detail": "Not found."}, 404)
    assert await rest.users.by_email("ada@shop.example") == []
    assert await rest.users.by_phone("+48600") == []


async def test_get_answer_with_another_user_raises(rest: UserComRest, server: RestServer) -> None:
    server.answer(USER)
    with pytest.raises(UnexpectedResponseError, match="another user"):
        await rest.users.get(7)


async def test_update_sends_null_and_leaves_out_unset(
    rest: UserComRest, server: RestServer
) -> None:
    server.answer(USER)
    await rest.users.update(
        52, email=UNSET, phone_number=None, gender="male", status=2, attributes={"plan": None}
    )
    assert server.last.line == "PUT /users/52/"
    assert server.last.json == {"phone_number": None, "gender": 2, "status": 2, "plan": None}


async def test_create_converts_moments_to_unix_seconds(
    rest: UserComRest, server: RestServer
) -> None:
    server.answer(USER, 201)
    await rest.users.create(email="a@b.example", first_seen=datetime(2030, 1, 2, tzinfo=UTC))
    assert server.last.json == {"email": "a@b.example", "first_seen": 1893542400}
    with pytest.raises(InvalidCommand, match="time zone"):
        await rest.users.create(first_seen=datetime(2030, 1, 2))  # noqa: DTZ001


async def test_update_unknown_field_names_the_nearest(rest: UserComRest) -> None:
    call: Any = rest.users.update
    with pytest.raises(TypeError, match="did you mean 'email'"):
        await call(52, emial="x")
    with pytest.raises(InvalidCommand, match="pass email as a keyword"):
        await rest.users.update(52, attributes={"email": "x"})
    with pytest.raises(InvalidCommand, match="must be one of"):
        await rest.users.update(52, gender="other")


async def test_upsert_returns_whether_it_is_new(rest: UserComRest, server: RestServer) -> None:
    server.answer({"created": True, "id": 5577})
    result = await rest.users.upsert("cust-52", email="a@b.example")
    assert (result.id, result.created) == (5577, True)
    assert server.last.line == "POST /users/update_or_create/"
    assert server.last.json == {"custom_id": "cust-52", "email": "a@b.example"}


@pytest.mark.parametrize(
    ("who", "method", "path"),
    [(52, "DELETE", "/users/52"), (CustomId("cust-52"), "POST", "/users-by-id/cust-52")],
)
async def test_remove_verbs_follow_the_identifier(
    rest: UserComRest, server: RestServer, who: Any, method: str, path: str
) -> None:
    server.answer(None, times=3)
    await rest.users.remove_tag(who, "beta")
    await rest.users.remove_attribute(who, "plan")
    await rest.users.remove_from_list(who, 3)
    assert server.lines == [
        f"{method} {path}/remove_tag/",
        f"{method} {path}/remove_attribute/",
        f"{method} {path}/remove_from_list/",
    ]
    assert [each.json for each in server.requests] == [
        {"name": "beta"},
        {"attribute": "plan"},
        {"list": 3},
    ]


async def test_verbs_by_email_look_the_user_up_first(rest: UserComRest, server: RestServer) -> None:
    server.answer([USER])
    server.answer({"created": True, "tag": {"name": "beta"}})
    await rest.users.add_tag(Email("ada@shop.example"), "beta")
    assert server.lines[1] == "POST /users/52/add_tag/"


async def test_set_attributes_with_an_empty_answer_succeeds(
    rest: UserComRest, server: RestServer
) -> None:
    server.answer(None)
    await rest.users.set_attributes(CustomId("cust-52"), {"plan": "pro"})
    assert server.last.line == "POST /users-by-id/cust-52/set_multiple_attributes/"
    assert server.last.json == {"plan": "pro"}


async def test_add_tags_and_add_to_list_send_their_bodies(
    rest: UserComRest, server: RestServer
) -> None:
    server.answer({}, times=4)
    await rest.users.add_tags(52, ["a", "b"])
    await rest.users.add_to_list(52, Id(3))
    returned = UserList(id=4, name="vip")
    await rest.users.add_to_list(52, returned)
    await rest.users.remove_from_list(52, returned)
    assert [each.json for each in server.requests] == [
        {"tag_names": ["a", "b"]},
        {"list": 3},
        {"list": 4},
        {"list": 4},
    ]
    with pytest.raises(InvalidCommand, match="a list of names"):
        await rest.users.add_tags(52, "beta")


async def test_forget_of_a_missing_user_succeeds(rest: UserComRest, server: RestServer) -> None:
    server.answer(None, 204)
    server.answer({"detail": "Not found."}, 404)
    await rest.users.forget(52)
    await rest.users.forget(52)
    server.answer({"detail": "Not found."}, 404)
    with pytest.raises(NotFoundError):
        await rest.users.delete(52)


async def test_forget_on_an_unknown_route_raises(rest: UserComRest, server: RestServer) -> None:
    """A page of HTML is not the API's answer that the user is gone."""
    server.page(404)
    with pytest.raises(UnexpectedResponseError, match="the route is unknown"):
        await rest.users.forget(52)


async def test_merge_names_the_user_to_keep(rest: UserComRest, server: RestServer) -> None:
    server.answer({**USER, "id": 53})
    server.answer({"success": True})
    await rest.users.merge(keep=52, others=[CustomId("old")])
    assert server.lines == ["GET /users-by-id/old/", "POST /users/merge/"]
    assert server.last.json == {"parent": 52, "users_list": [53]}


@pytest.mark.parametrize("others", [[], [52], [53, 53], [Key("abc")]])
async def test_merge_of_the_same_user_or_a_key_raises(
    rest: UserComRest, server: RestServer, others: Any
) -> None:
    with pytest.raises(InvalidCommand):
        await rest.users.merge(keep=52, others=others)
    assert server.requests == []


@pytest.mark.parametrize(
    ("users", "path", "ids"),
    [
        ([1, Id(2)], "/users/", [1, 2]),
        ([CustomId("a"), CustomId("b")], "/users-by-id/", ["a", "b"]),
    ],
)
async def test_update_many_follows_the_identifiers(
    rest: UserComRest, server: RestServer, users: Any, path: str, ids: list[object]
) -> None:
    server.answer({"status": "ok"}, times=2)
    await rest.users.update_many(users, "plan", "pro")
    await rest.users.update_many(users, "city", "Oslo", is_standard=True)
    assert server.lines == [
        f"PUT {path}mass_update_custom_attributes/",
        f"PUT {path}mass_update_standard_attributes/",
    ]
    assert server.requests[0].json == {"ids": ids, "attribute": "plan", "value": "pro"}
    with pytest.raises(InvalidCommand):
        await rest.users.update_many([1, CustomId("a")], "plan", "pro")  # type: ignore[arg-type]


async def test_list_search_and_by_date_send_their_filters(
    rest: UserComRest, server: RestServer
) -> None:
    server.answer({"count": 1, "next": None, "results": [USER]}, times=3)
    assert [
        each.id async for each in rest.users.list(email__contains="@acme", with_email=True)
    ] == [52]
    assert (await rest.users.search(plan__icontains="pro")).total == 1
    await rest.users.by_date("last_seen", since=datetime(2030, 1, 2, tzinfo=UTC), until=1893628800)
    assert server.lines == [
        "GET /users/?email__contains=%40acme&with_email=true",
        "GET /users/search/?plan__icontains=pro",
        "GET /users/search/?search=last_seen&min=1893542400&max=1893628800",
    ]
    with pytest.raises(InvalidCommand, match="must be given to get"):
        rest.users.search(email="a@b.example")


@pytest.mark.parametrize(
    ("name", "path", "row", "field", "value"),
    [
        ("events", "events", {"event": "paid", "client": 52}, "name", "paid"),
        ("product_events", "product_events", {"event_type": "view"}, "event_type", "view"),
        ("page_views", "ping_hits", {"url": "https://a.example"}, "url", "https://a.example"),
        ("emails", "emails", {"subject": "Hi"}, "subject", "Hi"),
        ("timeline", "timeline", {"content": {"title": "x"}}, "content", {"title": "x"}),
        ("segments", "segments", {"id": 3, "name": "VIP"}, "name", "VIP"),
    ],
)
async def test_sub_resources_read_their_rows(
    rest: UserComRest,
    server: RestServer,
    name: str,
    path: str,
    row: dict[str, object],
    field: str,
    value: object,
) -> None:
    server.answer({"results": [row]}, times=2)
    for who, place in ((52, "users/52"), (CustomId("c"), "users-by-id/c")):
        found = (await getattr(rest.users, name)(who)).items
        assert [getattr(each, field) for each in found] == [value]
        assert server.last.line == f"GET /{place}/{path}/"


async def test_documented_export_and_forget_reach_everything_of_a_person(
    rest: UserComRest, server: RestServer
) -> None:
    """The functions of docs/guides/consent.md, as they stand there."""
    text = (Path(__file__).parents[2] / "docs/guides/consent.md").read_text()
    [block] = [b for b in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "def export" in b]
    functions: dict[str, Any] = {}
    exec(block, functions)
    server.answer([USER])
    [user] = await functions["find"](rest, "ada@shop.example")
    server.answer(USER)
    server.answer({"results": [{"id": 1}]}, times=7)
    found = await functions["export"](rest, user.id)
    assert found.pop("user") == USER
    names = "events product_events page_views emails timeline segments deals"
    assert found == {name: [{"id": 1}] for name in names.split()}
    server.answer([USER, {**USER, "id": 53}])
    server.answer(None, 204)
    server.answer({"detail": "Not found."}, 404)
    await functions["forget"](rest, "ada@shop.example")
    assert server.lines[-2:] == ["DELETE /users/52/", "DELETE /users/53/"]


async def test_user_that_a_call_returned_is_an_identifier(
    rest: UserComRest, server: RestServer
) -> None:
    server.answer(USER)
    user = await rest.users.get(52)
    for call, line in (
        (rest.users.update(user, score=1), "PUT /users/52/"),
        (rest.users.add_tag(user, "beta"), "POST /users/52/add_tag/"),
        (rest.users.remove_tag(user, "beta"), "DELETE /users/52/remove_tag/"),
        (rest.companies.add_member(7, user), "POST /companies/7/add_member/"),
    ):
        server.answer(USER)
        await call
        assert server.last.line == line
    server.answer({"id": 1, "created": True})
    await rest.events.create(user, "paid")
    assert server.last.json["user_id"] == 52


async def test_object_of_another_kind_is_no_identifier(
    rest: UserComRest, server: RestServer
) -> None:
    server.answer({"id": 7, "name": "Acme"})
    company = await rest.companies.get(7)
    for who in (company, User()):
        with pytest.raises(InvalidCommand, match="must"):
            await rest.users.update(who, score=1)  # type: ignore[arg-type]
        with pytest.raises(InvalidCommand):
            await rest.events.create(who, "paid")  # type: ignore[arg-type]
    assert len(server.requests) == 1
