"""Guards ``rest/paging.py``."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from helpers.rest_server import TOKEN, RestServer
from hypothesis import given
from hypothesis import strategies as st

from usercom_asgi.rest import ServerError, UnexpectedResponseError, UserComRest
from usercom_asgi.rest.paging import Listing


def page(server: RestServer, ids: list[int], following: str | None = None, **more: Any) -> None:
    if following is not None and following.startswith("?"):
        following = f"{server.url}/api/public/tags/5/users/{following}"
    rows = [{"id": each} for each in ids]
    server.answer({"count": 5, "next": following, "previous": None, "results": rows, **more})


def three_pages(server: RestServer) -> None:
    page(server, [1, 2], "?cursor=a%2B")
    page(server, [3, 4], "?cursor=b")
    page(server, [5])


async def test_await_returns_the_first_page(rest: UserComRest, server: RestServer) -> None:
    three_pages(server)
    first = await rest.tags.users(5)
    assert ([each.id for each in first.items], first.total, first.has_next) == ([1, 2], 5, True)
    second = await first.next()
    assert second is not None
    third = await second.next()
    assert third is not None
    assert (len(third.items), third.total, third.has_next) == (1, 5, False)
    assert await third.next() is None
    assert server.lines == [
        "GET /tags/5/users/",
        "GET /tags/5/users/?cursor=a%2B",
        "GET /tags/5/users/?cursor=b",
    ]
    assert all(each.headers["authorization"] == f"Token {TOKEN}" for each in server.requests)


async def test_async_for_yields_the_items_of_all_pages(
    rest: UserComRest, server: RestServer
) -> None:
    listing = rest.tags.users(5)
    for _ in range(2):  # each loop begins anew
        three_pages(server)
        assert [user.id async for user in listing] == [1, 2, 3, 4, 5]
    assert len(server.requests) == 6


async def test_async_for_left_early_reads_no_further(rest: UserComRest, server: RestServer) -> None:
    three_pages(server)
    async for user in rest.tags.users(5):
        if user.id == 2:
            break
    assert len(server.requests) == 1


async def test_pages_yields_pages(rest: UserComRest, server: RestServer) -> None:
    three_pages(server)
    assert [len(each.items) async for each in rest.tags.users(5).pages()] == [2, 2, 1]


async def test_empty_pages_between_are_passed(rest: UserComRest, server: RestServer) -> None:
    page(server, [], "?cursor=a")
    page(server, [1])
    assert [user.id async for user in rest.tags.users(5)] == [1]


@pytest.mark.parametrize("is_html", [False, True])
async def test_next_that_answers_404_ends_the_list_with_a_line(
    rest: UserComRest, server: RestServer, caplog: pytest.LogCaptureFixture, *, is_html: bool
) -> None:
    caplog.set_level(logging.INFO, "usercom_asgi")
    page(server, [1, 2], "?cursor=a")
    server.page(404) if is_html else server.answer({"detail": "Invalid page."}, 404)
    assert [user.id async for user in rest.tags.users(5)] == [1, 2]
    assert "The next page of /tags/:id/users/ answered 404" in caplog.text
    assert "cursor" not in caplog.text


async def test_next_that_fails_raises(rest: UserComRest, server: RestServer) -> None:
    page(server, [1, 2], "?cursor=a")
    server.answer({}, 500, times=3)
    users = aiter(rest.tags.users(5))
    assert [(await anext(users)).id, (await anext(users)).id] == [1, 2]
    with pytest.raises(ServerError, match="GET /tags/:id/users/ answered 500"):
        await anext(users)


async def test_next_that_repeats_ends_the_list(
    rest: UserComRest, server: RestServer, caplog: pytest.LogCaptureFixture
) -> None:
    page(server, [1], "?cursor=a")
    page(server, [2], "?cursor=b")
    page(server, [3], "?cursor=a")
    assert [user.id async for user in rest.tags.users(5)] == [1, 2, 3]
    assert "repeats a page" in caplog.text
    page(server, [1], f"{server.url}/api/public/tags/5/users/")
    assert [user.id async for user in rest.tags.users(5)] == [1]


async def test_next_called_twice_reads_the_page_twice(
    rest: UserComRest, server: RestServer
) -> None:
    page(server, [1], "?cursor=a")
    page(server, [2])
    page(server, [2])
    first = await rest.tags.users(5)
    assert (await first.next()) is not None
    assert (await first.next()) is not None


async def test_next_may_be_relative(rest: UserComRest, server: RestServer) -> None:
    for following in ("/api/public/tags/5/users/?page=2", "users/?page=2"):
        page(server, [1], following)
        page(server, [2])
        assert len([user async for user in rest.tags.users(5)]) == 2


ELSEWHERE = [
    "https://evil.example/api/public/tags/5/users/?cursor=a",
    "http://127.0.0.1:1/api/public/users/",
    "https://{host}/api/public/users/",
    "http://x@{host}/api/public/users/",
    "http://{host}@evil.example/api/public/users/",
    "http://{host}.evil.example/api/public/",
    "//evil.example/api/public/users/",
    "http://{host}/api/event/",
    "http://{host}/api/publicity/",
    "http://{host}/api/public/../event/",
    "http://{host}/api/public/%2e%2e/event/",
    "http://{host}/api/public/%252e%252e/event/",
    "http://{host}/api/public/..%2fevent/",
    "http://{host}/api/public/..\\event/",
    "http://{host}/api/public/x\r\nX: y",
    "http://{host}/api/public/ü",
    "http://[::1/api/public/",
    "http://{host}:99999/api/public/",
    "file:///etc/passwd",
    "javascript:alert(1)",
]


@pytest.mark.parametrize("following", ELSEWHERE)
async def test_next_elsewhere_raises_and_is_not_followed(
    rest: UserComRest, server: RestServer, following: str
) -> None:
    """The token would go along."""
    host = server.url.removeprefix("http://")
    page(server, [1], following.format(host=host))
    with pytest.raises(UnexpectedResponseError, match="a next page elsewhere") as raised:
        _ = [user async for user in rest.tags.users(5)]
    assert "evil" not in str(raised.value)
    assert len(server.requests) == 1


async def test_bare_array_is_one_page(rest: UserComRest, server: RestServer) -> None:
    server.answer([{"id": 1}, {"id": 2}])
    first = await rest.tags.users(5)
    assert (len(first.items), first.total, first.has_next) == (2, None, False)


async def test_page_repr_hides_its_items(rest: UserComRest, server: RestServer) -> None:
    server.answer({"count": 1, "next": "?email=ada", "results": [{"id": 1, "email": "ada@b"}]})
    assert repr(await rest.tags.users(5)) == "Page(1 items, total=1)"


JSON: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
KEYS = st.sampled_from(["count", "next", "previous", "results"])


@pytest.mark.slow
@given(JSON | st.dictionaries(KEYS, JSON))
def test_page_of_a_strange_answer_is_a_page_or_an_error_of_the_library(data: Any) -> None:
    from usercom_asgi.rest.call import Route
    from usercom_asgi.rest.models import User

    listing: Listing[User] = Listing(None, Route("GET", "/users/"), User.parse)  # type: ignore[arg-type]
    rows = data.get("results") if isinstance(data, dict) else data
    if not isinstance(rows, list):
        with pytest.raises(UnexpectedResponseError):
            listing._page(data, 1)
        return
    found = listing._page(data, 1)
    assert all(isinstance(each, User) for each in found.items)
    assert found.total is None or isinstance(found.total, int)
    assert found.raw is data


@pytest.mark.parametrize("data", [{}, {"detail": "Later."}, "busy", 5, {"results": None}])
async def test_list_with_an_answer_that_is_no_list_raises(
    rest: UserComRest, server: RestServer, data: object
) -> None:
    """An empty list would pass for "this person has no events"."""
    server.answer(data)
    with pytest.raises(UnexpectedResponseError) as raised:
        await rest.tags.users(5)
    assert "no list" in str(raised.value)
