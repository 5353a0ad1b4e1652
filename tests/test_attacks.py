"""What a hostile reader of this code has found, one test a finding."""

from __future__ import annotations

import gzip
import re
import time
from decimal import Decimal
from functools import partial
from typing import Any

import anyio
import pytest
from helpers.asgi_client import (
    Recorded,
    answers,
    body,
    call,
    call_until,
    html,
    http_scope,
    lifespan,
    start,
)
from helpers.fake_usercom import FakeUserCom
from helpers.serving import serve_app
from helpers.waiting import until
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from usercom_asgi import (
    Event,
    InvalidCommand,
    Status,
    UserComClient,
    UserComConfig,
    UserComMiddleware,
    get_visitor,
)
from usercom_asgi.core.user_key import ResetMarker, key_digest
from usercom_asgi.page.injector import Injector, Skipped, inject
from usercom_asgi.visitor.cookies import cookie_domains
from usercom_asgi.visitor.signed_cookies import IdentityCookie

PAGE = b"<html><body>hello</body></html>"


def handler(said: Any, then: ASGIApp | None = None) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await said(get_visitor(scope))
        await (then or html(PAGE))(scope, receive, send)

    return app


async def test_one_visitor_s_cookie_does_not_go_out_with_the_next_one_s_call() -> None:
    seen: list[str | None] = []

    async def ping(request: Request) -> JSONResponse:
        seen.append(request.headers.get("cookie"))
        key = (await request.json())["userKey"]
        return JSONResponse(
            {"user": {"key": key}}, headers={"set-cookie": f"sessionid=of-{key}; Path=/"}
        )

    with serve_app(
        Starlette(routes=[Route("/api/v2/user-chatping/", ping, methods=["POST"])])
    ) as port:
        config = UserComConfig(base_url=f"http://127.0.0.1:{port}", api_key="ABC123")
        middleware = UserComMiddleware(handler(lambda visitor: visitor.page_hit()), config)
        async with lifespan(middleware) as state:
            for key in ("alice1", "bob2"):
                before = len(seen)
                await call(middleware, headers={"cookie": f"__ca__chat={key}"}, state=dict(state))
                await until(lambda before=before: len(seen) > before)  # type: ignore[misc]
    assert seen == [None, None]


async def test_a_client_cannot_choose_how_much_we_answer() -> None:
    host = ".".join("a" * 7000)
    marker = ResetMarker(key_digest("abc123"), "a" * 22, 1)
    middleware = UserComMiddleware(
        html(PAGE), UserComConfig(app="acme", api_key="ABC123", inline_deadline=0)
    )
    page = await call(middleware)
    got = await call(
        middleware, host=host, headers={"cookie": f"__ca__chat=abc123; __ca__reset={marker}"}
    )
    assert (
        sum(len(name) + len(value) for name, value in got.headers) + len(got.body)
        < len(page.body) + 1_500
    )
    assert len(cookie_domains(".".join("abcdefghijklmnop"), None)) <= 9


async def test_an_odd_user_agent_does_not_poison_the_delivery(usercom: FakeUserCom) -> None:
    middleware = UserComMiddleware(handler(lambda visitor: visitor.event("x")), usercom.config())
    key = usercom.new_user()
    async with lifespan(middleware) as state:
        for agent in ("\xe9 Mozilla", " ", "\xff", "a\tb "):
            await call(
                middleware,
                headers={"cookie": f"__ca__chat={key}", "user-agent": agent},
                state=dict(state),
            )
    assert len(usercom.store.events) == 4


async def test_no_cdn_is_told_to_keep_a_page_with_a_person() -> None:
    async def who(visitor: Any) -> None:
        visitor.identify(email="a@example.com")

    asked = {
        "cdn-cache-control": "max-age=600",
        "Cloudflare-CDN-Cache-Control": "max-age=600",
        "surrogate-control": "max-age=600",
        "x-accel-expires": "600",
        "cache-control": 'max-age=600, private="x-foo"',
    }
    middleware = UserComMiddleware(
        handler(who, html(PAGE, headers=asked)), UserComConfig(app="acme", api_key="ABC123")
    )
    got = await call(middleware)
    assert b"a@example.com" in got.body
    assert {name.lower() for name, _ in got.headers} == {
        b"content-type",
        b"content-length",
        b"cache-control",
        b"vary",
    }
    assert (got.header("cache-control") or "").startswith("private, ")


@pytest.mark.parametrize("missing", ["scheme", "query_string", "server", "client", "state"])
async def test_what_is_optional_in_a_scope_may_be_missing(
    missing: str, usercom: FakeUserCom
) -> None:
    key = usercom.new_user()
    scope = http_scope(headers={"cookie": f"__ca__chat={key}"})
    scope.pop(missing, None)
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    middleware = UserComMiddleware(handler(lambda visitor: visitor.page_hit()), usercom.config())
    await middleware(scope, None, send)  # type: ignore[arg-type]
    assert b"widget.js" in sent[1]["body"]
    assert len(usercom.store.hits) == 1


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "bad",
    [
        lambda v: v.event("x", d=10**400),
        lambda v: v.event("x", d=nested(600)),
        lambda v: v.update(d=nested(600)),
        lambda v: v.event("x", d=Decimal("sNaN")),
        lambda v: v.event("x", d=Decimal("Infinity")),
        lambda v: v.event("x", d=float("nan")),
        lambda v: v.page_hit(5),
        lambda v: v.event(None),
        lambda v: v.update(**{"x" * 300: 1}),
        lambda v: v.update(**{"a\x00b": 1}),
    ],
)
async def test_every_bad_value_is_refused_by_the_same_error(bad: Any) -> None:
    async def said(visitor: Any) -> None:
        with pytest.raises(InvalidCommand):
            await bad(visitor)

    await call(UserComMiddleware(handler(said), UserComConfig(app="acme", api_key="ABC123")))


async def test_an_attribute_may_be_called_as_an_argument_is(usercom: FakeUserCom) -> None:
    key = usercom.new_user()

    async def said(visitor: Any) -> None:
        await visitor.event("signup", name="Bob", self="x", data="y")
        await visitor.update(self="me")

    await call(
        UserComMiddleware(handler(said), usercom.config()), headers={"cookie": f"__ca__chat={key}"}
    )
    assert usercom.store.events[0].data == {"name": "Bob", "self": "x", "data": "y"}


@pytest.mark.parametrize("host", ["[", "]", "[::1", "a:b:c", ":", "exa mple"])
async def test_a_broken_host_header_breaks_nothing(host: str, usercom: FakeUserCom) -> None:
    async def said(visitor: Any) -> None:
        await visitor.event("x")
        await visitor.reset_auth()

    middleware = UserComMiddleware(handler(said), usercom.config(reset_timeout=2))
    got = await call(middleware, host=host, headers={"cookie": f"__ca__chat={usercom.new_user()}"})
    assert got.set_cookies("__ca__reset")
    assert len(usercom.store.events) == 1


async def test_a_reset_that_hangs_until_the_timeout_is_made_once(usercom: FakeUserCom) -> None:
    usercom.faults.latency(0.6, before=False)
    middleware = UserComMiddleware(
        handler(lambda visitor: visitor.reset_auth()),
        usercom.config(timeout=0.3, reset_timeout=0.1, shutdown_timeout=0.3),
    )
    async with lifespan(middleware) as state:
        await call(middleware, headers={"cookie": "__ca__chat=abc123"}, state=dict(state))
        await until(lambda: usercom.store.users)
        await anyio.sleep(1.5)
    assert len(usercom.store.users) == 1


async def test_without_a_lifespan_a_slow_reset_is_not_cut_off(usercom: FakeUserCom) -> None:
    async def said(visitor: Any) -> None:
        await visitor.reset_auth()
        await visitor.event("after")

    usercom.faults.latency(60)
    middleware = UserComMiddleware(handler(said), usercom.config(reset_timeout=0, timeout=60))
    got = Recorded({})
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(
            partial(call, middleware, headers={"cookie": "__ca__chat=abc123"}, record=got)
        )
        await until(
            lambda: got.messages and not got.messages[-1].get("more_body", True)
        )  # the response is out
        usercom.faults.clear()
    assert b"widget.js" not in got.body
    [new] = usercom.store.users
    assert [each.key for each in usercom.store.events] == [new]


async def test_a_logout_that_is_clicked_twice_makes_one_new_user(usercom: FakeUserCom) -> None:
    middleware = UserComMiddleware(
        handler(lambda visitor: visitor.reset_auth()), usercom.config(reset_timeout=5)
    )
    old = usercom.new_user()
    async with lifespan(middleware) as state:
        got = []

        async def click() -> None:
            headers = {"cookie": f"session=s1; __ca__chat={old}", "user-agent": "B/1"}
            got.append(await call(middleware, headers=headers, state=dict(state)))

        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(click)
        assert len(usercom.store.users) == 2
        assert len({str(each.set_cookies("__ca__chat")) for each in got}) == 1
        # The same key in another browser is another visitor's from now on.
        headers = {"cookie": f"session=s2; __ca__chat={old}", "user-agent": "B/1"}
        await call(middleware, headers=headers, state=dict(state))
    assert len(usercom.store.users) == 3


async def test_reset_of_two_browsers_that_share_a_key_makes_two_visitors(
    usercom: FakeUserCom,
) -> None:
    """Their cookies, browser and address are the same, and neither has a session: that is no double click."""
    middleware = UserComMiddleware(
        handler(lambda visitor: visitor.reset_auth()), usercom.config(reset_timeout=5)
    )
    shared = usercom.new_user()
    headers = {"cookie": f"__ca__chat={shared}", "user-agent": "B/1"}
    async with lifespan(middleware) as state:
        got = [await call(middleware, headers=headers, state=dict(state)) for _ in range(2)]
    assert len(usercom.store.users) == 3
    assert len({str(each.set_cookies("__ca__chat")) for each in got}) == 2


@pytest.mark.parametrize(
    ("scope", "consumed"),
    [
        ({}, True),
        ({"headers": {"sec-fetch-dest": "document"}}, True),
        ({"method": "HEAD"}, False),
        ({"headers": {"sec-fetch-dest": "empty"}}, False),
        ({"headers": {"sec-purpose": "prefetch;prerender"}}, False),
    ],
)
async def test_only_a_page_that_runs_its_scripts_ends_the_marker(
    scope: dict[str, Any], consumed: bool, usercom: FakeUserCom
) -> None:
    marker = ResetMarker(key_digest("abc123"), "a" * 22, 1)
    headers = {"cookie": f"__ca__reset={marker}", **scope.get("headers", {})}
    got = await call(
        UserComMiddleware(html(PAGE), usercom.config()), **{**scope, "headers": headers}
    )
    assert bool(got.set_cookies("__ca__reset")) is consumed


async def test_a_reset_that_was_refused_at_once_does_not_keep_the_widget_away(
    usercom: FakeUserCom,
) -> None:
    usercom.faults.status(403)
    logout = handler(lambda visitor: visitor.reset_auth(), answers(start({}, 303), body()))

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await (logout if scope["path"] == "/logout" else html(PAGE))(scope, receive, send)

    middleware = UserComMiddleware(app, usercom.config(reset_timeout=2))
    async with lifespan(middleware) as state:
        got = await call(
            middleware, "/logout", headers={"cookie": "__ca__chat=abc123"}, state=dict(state)
        )
        [marker] = got.set_cookies("__ca__reset")
        got = await call(middleware, headers={"cookie": marker.split(";")[0]}, state=dict(state))
    assert b"widget.js" in got.body


async def test_a_page_without_its_widget_is_no_page_for_a_cache(usercom: FakeUserCom) -> None:
    marker = ResetMarker("-", "a" * 22, int(time.time()))
    app = UserComMiddleware(
        html(PAGE, headers={"cache-control": "public, max-age=600"}), usercom.config()
    )
    got = await call(app, headers={"cookie": f"__ca__reset={marker}"})
    assert got.body == PAGE
    assert (got.header("cache-control"), got.header("vary")) == ("private, max-age=600", "Cookie")


async def test_a_websocket_cannot_reset(usercom: FakeUserCom) -> None:
    receipts: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        receipts.append(await get_visitor(scope).reset_auth())
        receipts.append(await get_visitor(scope).event("still here"))
        assert await receipts[-1].delivered(
            5
        )  # although the socket is open, and there is no lifespan

    key = usercom.new_user()
    scope = {
        **http_scope(headers={"cookie": f"__ca__chat={key}"}, scheme="ws"),
        "type": "websocket",
    }
    del scope["method"]
    await UserComMiddleware(app, usercom.config())(scope, None, None)  # type: ignore[arg-type]
    assert (receipts[0].status, len(usercom.store.users)) == (Status.SKIPPED, 1)
    assert usercom.store.events[0].key == key


async def test_who_is_introduced_at_the_second_reset_is_introduced(usercom: FakeUserCom) -> None:
    async def said(visitor: Any) -> None:
        await visitor.reset_auth()
        await visitor.reset_auth(user_id="42")
        assert visitor.user_id == "42"

    middleware = UserComMiddleware(handler(said), usercom.config(reset_timeout=5))
    await call(middleware, headers={"cookie": f"__ca__chat={usercom.new_user()}"})
    _, new = usercom.store.users
    assert usercom.store.users[new].attributes == {"user_id": "42"}


async def test_an_id_and_an_address_that_look_alike_are_two_people(usercom: FakeUserCom) -> None:
    usercom.faults.latency(0.05)
    middleware = UserComMiddleware(html(PAGE), usercom.config())
    async with lifespan(middleware) as state:
        for who in ({"user_id": "bob@x.com"}, {"email": "bob@x.com"}):

            async def said(visitor: Any, who: dict[str, str] = who) -> None:
                visitor.identify(**who)
                await visitor.event("x")

            await call(UserComMiddleware(handler(said), usercom.config()), state=dict(state))
    assert len({each.key for each in usercom.store.events}) == 2


@pytest.mark.parametrize("kind", ["push", "early_hint"])
async def test_a_push_in_the_middle_of_a_page_leaves_its_length_right(kind: str) -> None:
    odd = {"type": f"http.response.{kind}", "x": 1}
    parts = [b"<html><body>hi", b"</bo", b"dy></html>"]
    length = str(len(b"".join(parts)))
    app = answers(
        start({"content-type": "text/html", "content-length": length}), body(parts[0], more=True), odd,
        body(parts[1], more=True), odd, body(parts[2]),
    )  # fmt: skip
    got = await call(UserComMiddleware(app, UserComConfig(app="acme", api_key="ABC123")))
    assert got.header("content-length") in (None, str(len(got.body)))
    assert b"widget.js" in got.body
    assert got.types.count(kind) == 2


async def test_a_real_close_after_one_in_a_script() -> None:
    for close in (b"</body\n>", b"</BODY>"):
        page = b'<html><body><script>d.write("</body>")</script>' + close + b"\n</html>"
        got = await call(UserComMiddleware(html(page), UserComConfig(app="acme", api_key="ABC123")))
        assert b'd.write("</body>")</script><script data-cfasync' in got.body


async def test_two_thousand_events_of_one_request_do_not_stop_the_loop(
    usercom: FakeUserCom,
) -> None:
    async def said(visitor: Any) -> None:
        for n in range(2000):
            await visitor.event("x", n=n)

    middleware = UserComMiddleware(handler(said), usercom.config(inline_deadline=0))
    with anyio.fail_after(30):
        await call(middleware, headers={"cookie": f"__ca__chat={usercom.new_user()}"})


async def test_two_people_without_cookies_are_not_one_who_clicked_twice(
    usercom: FakeUserCom,
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            visitor = get_visitor(scope)
            await visitor.reset_auth(user_id=scope["path"][1:])
            await visitor.event(f"secret of {scope['path'][1:]}")
        await html(PAGE)(scope, receive, send)

    for cookies in ({}, {"cookie": "__ca__chat=abc123"}):
        usercom.store.clear()
        middleware = UserComMiddleware(app, usercom.config(reset_timeout=5))
        async with lifespan(middleware) as state:
            for who in ("/alice", "/bob"):
                await call(
                    middleware, who, headers={"user-agent": "B/1", **cookies}, state=dict(state)
                )
        owners = {key: user.attributes["user_id"] for key, user in usercom.store.users.items()}
        assert sorted(owners.values()) == ["alice", "bob"]
        assert {each.name: owners[each.key] for each in usercom.store.events} == {
            "secret of alice": "alice",
            "secret of bob": "bob",
        }


SECRET = ("sixteen characters or more",)


def remembering(key: str, who: str) -> dict[str, str]:
    identity_cookie = IdentityCookie(SECRET, None)
    cookie = (
        identity_cookie.set_cookie(identity_cookie.fingerprint({"user_id": who}), secure=False)
        .decode()
        .split(";")[0]
    )
    return {"cookie": f"__ca__chat={key}; {cookie}"}


@pytest.mark.parametrize("now", ["bob", None])
async def test_a_websocket_of_the_next_person_does_not_use_the_last_one_s_key(
    now: str | None, usercom: FakeUserCom
) -> None:
    receipts: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        receipts.append(await get_visitor(scope).event("secret"))
        await receipts[-1].delivered(5)

    alice = usercom.new_user()
    scope = {**http_scope(headers=remembering(alice, "alice"), scheme="ws"), "type": "websocket"}
    del scope["method"]
    who = {"user_id": now} if now else None
    await UserComMiddleware(
        app, usercom.config(secret_keys=SECRET), identify=lambda connection: who
    )(scope, None, None)  # type: ignore[arg-type]
    assert [
        usercom.store.users[each.key].attributes["user_id"] for each in usercom.store.events
    ] == ([now] if now else [])
    assert receipts[0].status is (Status.DELIVERED if now else Status.SKIPPED)


async def test_helpers_that_run_at_once_all_wait_for_the_hook(usercom: FakeUserCom) -> None:
    async def slow(connection: Any) -> dict[str, str]:
        await get_visitor(connection).event("from the hook itself")  # is not for it to wait
        await anyio.sleep(0.05)
        return {"user_id": "bob"}

    async def said(visitor: Any) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(visitor.event, "one")
            tasks.start_soon(visitor.event, "two")

    alice = usercom.new_user()
    middleware = UserComMiddleware(
        handler(said), usercom.config(secret_keys=SECRET, reset_timeout=5), identify=slow
    )
    await call(middleware, headers=remembering(alice, "alice"))
    assert {each.name for each in usercom.store.events if each.key == alice} == {
        "from the hook itself"
    }
    assert {each.name for each in usercom.store.events if each.key != alice} == {"one", "two"}


async def test_a_client_that_is_cancelled_while_it_enters_can_enter_again(
    usercom: FakeUserCom,
) -> None:
    client = UserComClient(usercom.config())
    with anyio.move_on_after(0):
        async with client:
            raise AssertionError("it was to be cancelled")
    async with client:
        assert await (await client.send(Event("x"), user_id=1)).delivered(5)


async def test_a_visitor_whose_first_key_comes_late_is_made_once(usercom: FakeUserCom) -> None:
    usercom.faults.latency(60)
    receipts: list[Any] = []

    async def said(visitor: Any) -> None:
        receipts.append(await visitor.page_hit())

    page = html(PAGE, headers={"cache-control": "public, max-age=600"})
    middleware = UserComMiddleware(
        handler(said, page), usercom.config(anonymous="create", reset_timeout=0, timeout=60)
    )
    async with lifespan(middleware) as state:
        first = await call(middleware, state=dict(state))
        assert (first.body, first.header("cache-control"), first.header("vary")) == (
            PAGE,
            "private, max-age=600",
            "Cookie",
        )
        [marker] = first.set_cookies("__ca__reset")
        usercom.faults.clear()
        assert await receipts[0].delivered(20)
        second = await call(middleware, headers={"cookie": marker.split(";")[0]}, state=dict(state))
    [key] = usercom.store.users
    assert [line for line in second.set_cookies("__ca__chat") if f"={key};" in line]
    assert b"widget.js" in second.body


@pytest.mark.parametrize("how", [{"consent": lambda connection: True}, {}])
async def test_a_page_that_consent_decides_on_is_in_no_shared_cache(
    how: Any, usercom: FakeUserCom
) -> None:
    app = html(PAGE, headers={"cache-control": "public, max-age=600"})
    got = await call(UserComMiddleware(app, usercom.config(honour_gpc=not how), **how))
    assert b"widget.js" in got.body
    assert (got.header("cache-control"), got.header("vary")) == ("private, max-age=600", "Cookie")


async def test_a_request_that_is_cancelled_delivers_what_it_has_accepted(
    usercom: FakeUserCom,
) -> None:
    key = usercom.new_user()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await get_visitor(scope).event("x")
        has_browser_commands.set()
        await anyio.sleep_forever()

    has_browser_commands = anyio.Event()
    await call_until(
        has_browser_commands,
        UserComMiddleware(app, usercom.config()),
        headers={"cookie": f"__ca__chat={key}"},
    )
    assert [each.key for each in usercom.store.events] == [key]


# ---- found by somebody who had the README alone ----


async def test_somebody_with_a_broken_phone_number_is_somebody_else_all_the_same(
    usercom: FakeUserCom,
) -> None:
    """The hook's person was refused as a whole, and the last one stayed."""
    person: dict[str, Any] = {"user_id": "bob"}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await get_visitor(scope).event("said")
            await html(b"<html><body>x</body></html>")(scope, receive, send)

    middleware = UserComMiddleware(
        app,
        usercom.config(secret_keys=("sixteen characters or more",), reset_timeout=5),
        identify=lambda _: person,
    )
    bob = usercom.new_user()
    async with lifespan(middleware) as state:
        first = await call(middleware, headers={"cookie": f"__ca__chat={bob}"}, state=dict(state))
        identity_cookie = first.set_cookies("__ca__identity")[0].partition(";")[0]
        person = {"user_id": "carl", "phone_number": "123", "first_name": "x" * 99, "plan": "gold"}
        page = await call(
            middleware,
            headers={"cookie": f"__ca__chat={bob}; {identity_cookie}"},
            state=dict(state),
        )
    assert b'"user_id":"carl"' in page.body
    assert b'"plan":"gold"' in page.body
    assert b"phone_number" not in page.body
    assert [each.key == bob for each in usercom.store.events] == [True, False]


@pytest.mark.parametrize("asks", [{}, {"hx-request": "true"}])
async def test_a_logout_without_consent_ends_the_key_that_came_before_the_refusal(
    asks: dict[str, str], usercom: FakeUserCom
) -> None:
    reasons: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            visitor = get_visitor(scope)
            reasons.append((await visitor.event("said")).reason)
            reasons.append((await visitor.reset_auth()).reason)
            await answers(start({"location": "/"}, 303), body())(scope, receive, send)

    middleware = UserComMiddleware(app, usercom.config(), consent=lambda _: False)
    async with lifespan(middleware) as state:
        got = await call(
            middleware, headers={"cookie": "__ca__chat=abcdefghijkl", **asks}, state=dict(state)
        )
        stranger = await call(middleware, headers=asks, state=dict(state))
    assert reasons == ["the visitor has not consented"] * 4
    cookies = got.all("set-cookie")
    assert cookies
    assert all(each.startswith("__ca__chat=;") and "Max-Age=0" in each for each in cookies)
    assert not stranger.all("set-cookie")
    assert not usercom.store.hits


async def test_a_key_that_an_event_of_somebody_known_has_found_reaches_the_browser(
    usercom: FakeUserCom,
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            visitor = get_visitor(scope)
            visitor.identify(user_id="u-1")
            await (await visitor.event("said")).delivered(5)
            await answers(start({"content-type": "application/json"}), body(b"{}"))(
                scope, receive, send
            )

    middleware = UserComMiddleware(app, usercom.config())
    async with lifespan(middleware) as state:
        got = await call(middleware, state=dict(state))
    (key,) = usercom.store.users
    assert any(each.startswith(f"__ca__chat={key};") for each in got.set_cookies("__ca__chat"))


# ---- found by an attack on the pages ----


@pytest.mark.parametrize(
    "bad",
    [
        [("content-type", "text/html")],
        [(b"content-type", b"text/html"), (b"etag", "x")],
        [(b"a",)],
        [7],
    ],
)
@pytest.mark.parametrize("chunks", [1, 2])
async def test_headers_that_are_none_are_the_servers_to_refuse(bad: Any, chunks: int) -> None:
    app = answers(
        {"type": "http.response.start", "status": 200, "headers": bad},
        *[body(b"x", more=True)] * (chunks - 1),
        body(b"y"),
    )
    got = await call(UserComMiddleware(app, UserComConfig(app="acme", api_key="ABC123")))
    assert got.types == ["start"] + ["body"] * chunks
    assert got.start["headers"] == bad
    assert got.body == b"x" * (chunks - 1) + b"y"


@pytest.mark.parametrize(
    "broken",
    ["update_entity_headers", "_body_messages", "with_cookies", "inject", "Injector"],
)
@pytest.mark.parametrize(
    "parts", [[b"<html><body>x</body></html>"], [b"<html>", b"<body>x", b"</body></html>"]]
)
async def test_whatever_fails_the_page_goes_out_whole(
    broken: str, parts: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    from usercom_asgi.page import response as module

    def fails(*args: Any, **options: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(module, broken, fails)
    app = answers(start(), *(body(each, more=True) for each in parts[:-1]), body(parts[-1]))
    got = await call(UserComMiddleware(app, UserComConfig(app="acme", api_key="ABC123")))
    got.assert_legal()
    plain = re.sub(rb"<script .*</script>", b"", got.body, flags=re.DOTALL)
    assert plain == b"".join(parts)


async def test_empty_messages_before_a_page_are_not_kept_without_end() -> None:
    many = [body(b"", more=True)] * 20_000
    app = answers(start(), *many, body(b"<html><body>x</body></html>"))
    began = time.process_time()
    got = await call(UserComMiddleware(app, UserComConfig(app="acme", api_key="ABC123")))
    got.assert_legal()
    assert b"widget.js" in got.body
    assert time.process_time() - began < 15


# ---- the page half, once more ----


def over(app: ASGIApp, **settings: Any) -> UserComMiddleware:
    return UserComMiddleware(app, UserComConfig(app="acme", api_key="ABC123", **settings))


async def test_a_buffer_that_is_filled_again_is_not_sent_twice() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        buffer = bytearray(b"<" + b"." * 9)
        await send(start())
        await send(
            {"type": "http.response.body", "body": memoryview(buffer)[:1], "more_body": True}
        )
        buffer[:] = b"p>fragment"
        await send({"type": "http.response.body", "body": memoryview(buffer)})

    assert (await call(over(app))).body == b"<p>fragment"


async def test_a_message_and_a_list_of_headers_that_are_used_again() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"text/html"), (b"x-a", b"1")]
        message = {"type": "http.response.start", "status": 200, "headers": headers}
        await send(message)
        headers.clear()
        message.update(type="http.response.body", body=b"<", more_body=True)
        await send(message)
        message.update(body=b"p>fragment", more_body=False)
        await send(message)

    got = await call(over(app))
    assert got.types == ["start", "body", "body"]
    assert got.header("x-a") == "1"
    assert got.body == b"<p>fragment"


@pytest.mark.parametrize(
    "odd", [[("x-foo", b"1")], [(b"vary", "Accept")], [(b"cache-control", None)]]
)
@pytest.mark.parametrize("bodies", [[b"<html><body>x</body></html>"], [b"<p>x"], []])
async def test_odd_headers_and_cookies_that_are_due(odd: list[Any], bodies: list[bytes]) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        get_visitor(scope).browser.open()
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [(b"content-type", b"text/html"), *odd],
            }
        )
        for each in bodies:
            await send(body(each))

    got = await call(over(app, secret_keys=("sixteen characters or more",)))
    assert got.types == ["start"] + ["body"] * len(bodies)
    if b"widget.js" not in got.body:
        assert got.start["headers"] == [(b"content-type", b"text/html"), *odd]
    assert re.sub(rb"<script .*</script>", b"", got.body, flags=re.DOTALL) == b"".join(bodies)


async def test_headers_that_cannot_be_read_at_all_are_the_servers_to_refuse() -> None:
    got = await call(
        over(answers({"type": "http.response.start", "status": 200, "headers": 5}, body(b"x")))
    )
    assert got.start["headers"] == 5
    assert got.body == b"x"


@pytest.mark.parametrize("encoded", [False, True])
async def test_what_comes_behind_the_last_message_gets_no_second_snippet(*, encoded: bool) -> None:
    headers = {"content-type": "text/html", **({"content-encoding": "gzip"} if encoded else {})}
    page = gzip.compress(PAGE) if encoded else PAGE
    got = await call(
        over(
            answers(
                start(headers), body(page[:9], more=True), body(page[9:]), body(b""), body(b"more")
            )
        )
    )
    assert got.types == ["start"] + ["body"] * (len(got.messages) - 1)
    out = gzip.decompress(got.body.removesuffix(b"more")) if encoded else got.body
    assert out.count(b"widget.js") == 1
    assert got.body.endswith(b"more")


@pytest.mark.parametrize("has_begun", [False, True])
async def test_an_application_that_fails_has_said_what_it_has_said(*, has_begun: bool) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        if has_begun:
            await send(body(b"<html><body>x", more=True))
        await send(body(b"</body>", more=True))
        raise ZeroDivisionError

    got = Recorded({})
    with pytest.raises(ZeroDivisionError):
        await call(over(app), record=got)
    if has_begun:
        assert got.body == b"<html><body>x</body>"
    else:
        assert not got.messages, "somebody further out may still answer with an error page"


async def test_an_answer_to_head_in_two_empty_messages() -> None:
    headers = [(b"content-type", b"text/html"), (b"content-length", b"28"), (b"etag", b'"a"')]
    for bodies in ([body(b"")], [body(b"", more=True), body(b"")]):
        got = await call(over(answers(start(headers), *bodies)), method="HEAD")
        assert got.types == ["start"] + ["body"] * len(bodies)
        assert got.headers == [(b"content-type", b"text/html"), (b"etag", b'W/"a"')]


HEAD = b"<!doctype html><html><body>"


@pytest.mark.parametrize("size", range(990, 1020))
def test_what_ends_just_where_the_quick_look_begins(size: int) -> None:
    page = (
        HEAD
        + b"<p>para</p>\n" * 200
        + b"<script>1<xmp>1</script><!-- </xmp>"
        + b"x" * size
        + b"</body></html>"
    )
    assert isinstance(inject(page, b"<script>1</script>"), Skipped)


@pytest.mark.parametrize(
    "opened",
    [
        b'<script>var a="</scripts>";' + b"<b>x</b>\n" * 200,
        b"<!-- <script> -->" + b"z" * 1000 + b'<a title="</script> ',
    ],
)
def test_what_only_looks_like_the_end_of_a_script(opened: bytes) -> None:
    page = HEAD + b"<p>para</p>\n" * 200 + opened + b"</body></html>"
    assert isinstance(inject(page, b"<script>1</script>"), Skipped)


@pytest.mark.parametrize("place", range(16_370, 16_390))
def test_a_body_at_the_edge_of_what_is_looked_at_is_the_same_in_a_stream(place: int) -> None:
    page = b"<html><head>" + b" " * (place - 12) + b"<body>" + b"x" * 20_000 + b"</body></html>"
    injector = Injector(b"<script>1</script>")
    parts = [
        part
        for n in (0, 9_000, 18_000, 27_000, 36_000)
        for part in injector.feed(page[n : n + 9_000], last=n == 36_000)
    ]
    assert inject(page, b"<script>1</script>") == b"".join(parts)


@pytest.mark.parametrize(
    ("content_types", "is_page"),
    [
        (["text/html;charset=utf-16le, text/html"], False),
        (["text/html;charset=utf-16", "text/html"], False),
        (['text/plain; x=",text/html;"'], False),
        (["text/plain", "text/html"], True),
        (["text/html; charset=utf-8, text/html"], True),
    ],
)
async def test_several_content_types(content_types: list[str], *, is_page: bool) -> None:
    headers = [(b"content-type", each.encode()) for each in content_types]
    got = await call(over(answers(start(headers), body(PAGE))))
    assert (b"widget.js" in got.body) is is_page


@pytest.mark.parametrize(
    "written",
    ["s.src=`https://acme.user.com/widget.js`", r's.src="https:\/\/acme.user.com\/widget.js"'],
)
def test_a_widget_of_the_pages_own_however_it_is_written(written: str) -> None:
    page = HEAD + f"<script>{written}</script></body></html>".encode()
    assert isinstance(inject(page, b"<script>1</script>"), Skipped)


def test_injector_in_head_with_the_end_in_a_script_puts_the_snippet_at_the_end_of_the_head() -> (
    None
):
    page = (
        b"<html><head><script>"
        + (b"<body>" + b"x" * 60) * 1900
        + b"</script></head><body>y</body></html>"
    )
    injector = Injector(b"<script>1</script>", in_head=True)
    out = b"".join(
        part
        for n in range(0, len(page), 66)
        for part in injector.feed(page[n : n + 66], last=n + 66 >= len(page))
    )
    assert out == page.replace(b"</head>", b"<script>1</script></head>")
