"""Browsers, workers and a slow or failing User.com under a virtual clock (trio's).

The model test of :mod:`test_key_ring_model` plays stories in this world, and the world
records for every call to User.com which browser's request it comes from, and under which key it goes.
"""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, cast
from unittest.mock import patch

import trio
import trio.testing
from helpers.asgi_client import Recorded, call, lifespan
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from usercom_asgi import Event, UserComConfig, UserComMiddleware, Visitor
from usercom_asgi.api import widget_api
from usercom_asgi.core.exceptions import RejectedError, UnavailableError
from usercom_asgi.sandbox import Sandbox
from usercom_asgi.sandbox.endpoints import HANDLERS
from usercom_asgi.sandbox.parsing import RefusedError

HOST = "shop.example.com"
PING = "/api/v2/user-chatping/"
PEOPLE = "ABC"
#: Seconds of virtual time after the last step: retries, pauses and resets are over by then.
_REST = 120.0
_START = 1_800_000_000.0

#: One step: seconds to wait before it, what happens, in which browser, and its argument.
Step = tuple[float, str, int, Any]


@dataclass
class SentEvent:
    """One request that asked for something: who made it, and what the browser sent with it."""

    person: str | None
    browser: int
    phase: int
    cookie_key: str | None
    identities: tuple[str | None, ...] = ()


@dataclass
class Call:
    """One call to User.com: the request that it comes from, and the keys that went out and came back."""

    n: int
    path: str
    key: str | None
    person: str | None
    is_reset: bool
    answered: str | None = None


class Jar:
    """The cookies of one browser."""

    def __init__(self) -> None:
        self.cookies: dict[tuple[str, str], str] = {}

    def keep(self, line: str) -> None:
        pair, *attributes = (part.strip() for part in line.split(";"))
        name, _, value = pair.partition("=")
        given = {
            key.lower(): content for key, _, content in (each.partition("=") for each in attributes)
        }
        domain = given.get("domain", "").lstrip(".")
        if domain and not (domain == HOST or HOST.endswith("." + domain)):
            return
        if given.get("max-age") == "0":
            self.cookies.pop((name, domain), None)
        else:
            self.cookies[name, domain] = value

    def get(self, name: str) -> str | None:
        return next((value for (each, _), value in self.cookies.items() if each == name), None)

    def header(self) -> str:
        return "; ".join(f"{name}={value}" for (name, _), value in self.cookies.items())


class Network:
    """The way to the sandbox: latency, and faults by a script."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.latency = 0.02
        self.faults: list[str] = []
        self.calls: list[Call] = []

    async def post_json(
        self,
        path: str,
        body: Mapping[str, object],
        headers: Mapping[str, str],
        *,
        read_body: bool = False,
    ) -> bytes:
        record = self._record(path, body)
        self.calls.append(record)
        answer = await self.go(path, body)
        if path == PING:
            record.answered = json.loads(answer)["user"]["key"]
        return answer

    def _record(self, path: str, body: Mapping[str, object]) -> Call:
        if path == PING:
            found = re.search(r"[?&]n=(\d+)", str(body["url"]))
            key = body.get("userKey")
        else:
            found = re.search(r"[eu](\d+)", str(body.get("event") or body["data"]))
            key = body.get("user_key") or body.get("userKey")
        assert found, (path, body)
        data = str(body.get("data", ""))
        of = re.search(r"of\W+([ABC])\b", data)
        person = cast("str | None", body.get("user_id")) if path == PING else of[1] if of else None
        return Call(
            int(found[1]), path, cast("str | None", key), person, body.get("create_new_gu") is True
        )

    async def go(self, path: str, body: Mapping[str, object]) -> bytes:
        kind = self.faults.pop(0) if self.faults else "ok"
        latency = self.latency * self.world.random.uniform(0.5, 1.5)
        if kind == "refuse":
            raise UnavailableError("no connection", not_sent=True)
        if kind == "hang":
            await trio.sleep(30)
            raise UnavailableError("timeout")
        await trio.sleep(latency / 2)
        if kind == "500":
            raise UnavailableError("500", status=500)
        try:
            answer = HANDLERS[path](self.world.sandbox, json.loads(json.dumps(body)), Headers({}))
        except RefusedError as error:
            raise RejectedError("refused", status=error.status) from error
        if kind == "drop":
            raise UnavailableError("dropped")
        await trio.sleep(latency / 2)
        return json.dumps(answer).encode()


@dataclass
class World:
    """One story's browsers, workers and User.com.

    ``hook``: the application uses ``identify=``; else its handlers identify and reset. ``known``: browser 0, 1 and 2 begin as
    A, B and C. ``shared_key``: browser 0 and 1 begin with one person's key, as after Unified Identification.
    """

    seed: int
    workers: int = 2
    browsers: int = 3
    hook: bool = True
    known: bool = False
    shared_key: bool = False
    switches: dict[str, Any] = field(default_factory=dict[str, Any])
    settings: dict[str, Any] = field(default_factory=dict[str, Any])

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.sandbox = Sandbox(api_key="ABC123", **self.switches)
        self.network = Network(self)
        self.sessions: dict[str, str] = {}
        self.said: dict[int, SentEvent] = {}
        self.n = 0
        self.jars = [Jar() for _ in range(self.browsers)]
        self.phases = [0] * self.browsers  # grows at each login and logout of a browser
        self.pages = [0] * self.browsers  # the page that each browser shows
        self.given: list[tuple[str, int, int]] = []  # key, browser, request: from Set-Cookie
        self.owned: list[set[str]] = [
            set() for _ in range(self.browsers)
        ]  # keys that were a browser's own, in any phase
        self.shown: list[
            tuple[str, int, int | None]
        ] = []  # person named in a page: text, browser, request
        self.problems: list[str] = []
        self._busy = [0] * self.browsers
        self._switching = [False] * self.browsers
        for person in PEOPLE:  # each has been here, at another device
            self.sandbox.store.create().attributes.update(
                user_id=person, email=f"{person}@example.com"
            )
        for browser, person in enumerate(PEOPLE if self.known else ""):
            self.sessions[f"home{person}"] = person
            self.jars[browser].keep(f"sid=home{person}; path=/")
            self._give(browser, self.key_of(person))
        if self.shared_key:
            key = self.sandbox.store.create().key
            self._give(0, key)
            self._give(1, key)

    def _give(self, browser: int, key: str) -> None:
        self.jars[browser].keep(f"__ca__chat={key}; domain=example.com; path=/")
        self.owned[browser].add(key)

    def key_of(self, person: str) -> str:
        user = self.sandbox.store.by_user_id(person)
        assert user is not None
        return user.key

    # The application.

    def app(self) -> Starlette:
        async def page(request: Request) -> Response:
            self._identify(request)
            return HTMLResponse("<html><body>x</body></html>")

        async def act(request: Request) -> Response:
            visitor, n = self._visitor(request), int(request.query_params["n"])
            self._identify(request)
            person = self._person(request)
            kind = request.path_params["kind"]
            if kind == "event":
                receipt = await visitor.event(f"e{n}", of=person or "nobody")
            elif kind == "update":
                receipt = await visitor.update(**{f"u{n}": person or "nobody"})
            elif kind == "form":  # a newsletter: anybody may type any address
                receipt = await visitor.page_hit(
                    email=request.query_params["arg"], event=Event(f"e{n}")
                )
            else:
                receipt = await visitor.page_hit(event=Event(f"e{n}", {"of": person or "nobody"}))
            if "wait" in request.query_params:
                await receipt.delivered(3)
                await visitor.event(f"e{n}", of=person or "nobody")
            return JSONResponse({})

        async def desk(request: Request) -> Response:
            """One browser acts for several people in one request: a call centre."""
            n = int(request.query_params["n"])
            for person in request.query_params["arg"]:
                self._visitor(request).identify(user_id=person)
                receipt = await self._visitor(request).page_hit(
                    event=Event(f"e{n}", {"of": person})
                )
                if "wait" in request.query_params:
                    await receipt.delivered(3)
                await self._visitor(request).event(f"e{n}", of=person)
            return JSONResponse({})

        async def say(request: Request) -> Response:
            n = request.query_params["n"]
            self._identify(request)
            self._visitor(request).browser.update(flash=f"f{n}.")
            return RedirectResponse("/", 303)

        async def login(request: Request) -> Response:
            person, session = request.query_params["arg"], f"s{request.query_params['n']}"
            before = self.sessions.pop(request.cookies.get("sid", ""), None)
            visitor = self._visitor(request)
            if not self.hook and before not in (None, person):
                await visitor.reset_auth(user_id=person)
            self.sessions[session], request.state.sid = person, session
            if not self.hook:
                visitor.identify(user_id=person)
            n = int(request.query_params["n"])
            await visitor.page_hit(event=Event(f"e{n}", {"of": person}))
            response = RedirectResponse("/", 303)
            response.set_cookie("sid", session)
            return response

        async def logout(request: Request) -> Response:
            self.sessions.pop(request.cookies.get("sid", ""), None)
            if not self.hook or request.query_params["arg"] == "explicit":
                await self._visitor(request).reset_auth()
            response = RedirectResponse("/", 303)
            response.delete_cookie("sid")
            return response

        def who(connection: HTTPConnection) -> dict[str, str] | None:
            person = self._person(connection)
            return {"user_id": person} if person else None

        config = UserComConfig(
            base_url="http://127.0.0.1:9",
            api_key="ABC123",
            secret_keys=("0123456789abcdef",),
            **self.settings,
        )
        routes = [
            Route("/", page),
            Route("/act/{kind}", act),
            Route("/desk", desk),
            Route("/say", say, methods=["POST"]),
            Route("/login", login, methods=["POST"]),
            Route("/logout", logout, methods=["POST"]),
        ]
        middleware = Middleware(
            UserComMiddleware, config=config, identify=who if self.hook else None
        )
        return Starlette(routes=routes, middleware=[middleware])

    def _person(self, connection: HTTPConnection) -> str | None:
        sid = getattr(connection.state, "sid", None) or connection.cookies.get("sid", "")
        return self.sessions.get(sid)

    def _visitor(self, request: Request) -> Visitor:
        return cast("Visitor", request.state.usercom)

    def _identify(self, request: Request) -> None:
        person = self._person(request)
        if person and not self.hook:
            self._visitor(request).identify(user_id=person)

    # A browser.

    async def request(
        self, browser: int, path: str, query: str = "", *, method: str = "GET", n: int = 0
    ) -> Recorded:
        jar, worker = self.jars[browser], self.random.randrange(self.workers)
        cookie, key = jar.header(), jar.get("__ca__chat")
        if n:
            person = self.sessions.get(jar.get("sid") or "")
            self.said[n] = SentEvent(person, browser, self.phases[browser], key)
        await trio.sleep(self.random.choice([0, 0.001, 0.02]))
        dest = "document" if path == "/" else "empty"
        headers = {"cookie": cookie, "user-agent": "the same for all", "sec-fetch-dest": dest}
        state = dict(self.states[worker])
        got = await call(
            self.apps[worker], path, query=query, method=method, headers=headers, state=state
        )
        await trio.sleep(self.random.choice([0, 0.001, 0.02]))
        for line in got.all("set-cookie"):
            jar.keep(line)
            if line.startswith("__ca__chat=") and "Max-Age=0" not in line:
                self.given.append((line.split(";")[0].partition("=")[2], browser, n))
        return got

    async def page(self, browser: int) -> None:
        self.pages[browser] += 1
        shown, phase, jar = self.pages[browser], self.phases[browser], self.jars[browser]
        key = jar.get("__ca__chat")
        got = await self.request(browser, "/")
        self._read(got.text, browser, phase, key)
        if self.pages[browser] == shown and "window.civchat" in got.text:
            self.tasks.start_soon(self._widget, browser, shown, got.text)

    def _read(self, text: str, browser: int, phase: int, key: str | None) -> None:
        """Look for what a page shows of another person."""
        for person in re.findall(r'"user_id":\s*"([ABC])"', text):
            if (
                person != self.sessions.get(self.jars[browser].get("sid") or "")
                and self.phases[browser] == phase
            ):
                self.problems.append(f"browser {browser} shows a page of {person}")
        for n in re.findall(r'"flash":\s*"f(\d+)\.', text):
            said = self.said[int(n)]
            # Two browsers without a key cannot be distinguished by it, and no profile is affected.
            is_same = said.browser == browser or (said.cookie_key == key and key is None)
            if not is_same:
                self.problems.append(
                    f"browser {browser} runs a command that was meant for browser {said.browser}"
                )

    async def _widget(self, browser: int, shown: int, text: str) -> None:
        jar = self.jars[browser]
        forget = re.search(r'\}\)\("([^"]*)",(\[[^\]]*\])\);window.civchat', text)
        if forget and jar.get("__ca__chat") not in (None, forget[1]):
            for cookie in [each for each in jar.cookies if each[0] == "__ca__chat"]:
                del jar.cookies[cookie]
            if forget[1]:
                jar.keep(f"__ca__chat={forget[1]}; path=/; domain=example.com")
        found = re.search(r"window\.civchat = (\{.*?\});", text)
        assert found
        address = f"http://{HOST}/"
        body = {
            **json.loads(found[1]),
            "url": address,
            "domain": HOST,
            "referrer": "",
            "timezone": 0,
            "resolution": "1x1",
        }
        if key := jar.get("__ca__chat"):
            body["userKey"] = key
        try:
            answer = json.loads(await self.network.go(PING, body))
        except (UnavailableError, RejectedError):
            return
        if self.pages[browser] == shown:
            self._give(browser, answer["user"]["key"])

    # A story.

    async def step(self, kind: str, browser: int, arg: Any) -> None:
        if kind == "latency":
            self.network.latency = arg
        elif kind == "faults":
            self.network.faults += arg
        elif kind == "plant":
            flash = self.jars[arg].get("__ca__flash")
            if flash:
                self.jars[browser].keep(f"__ca__flash={flash}; domain=example.com")
        else:
            switches = kind in ("login", "logout")
            # A person does one thing after the other where they log in and out.
            while self._switching[browser] or (switches and self._busy[browser]):
                await trio.sleep(0.003)
            self._busy[browser] += 1
            self._switching[browser] = switches
            try:
                await self._act(kind, browser, arg)
            finally:
                self._busy[browser] -= 1
                if switches:
                    self._switching[browser] = False

    async def _act(self, kind: str, browser: int, arg: Any) -> None:
        if kind == "page":
            await self.page(browser)
            return
        self.n += 1
        n = self.n
        name, _, wait = kind.partition("+")
        query = f"n={n}&arg={arg or ''}" + ("&wait=1" if wait else "")
        if name in ("login", "logout"):
            self.phases[browser] += 1
            await self.request(browser, f"/{name}", query, method="POST", n=n)
            if name == "login":
                self.said[n].person = arg
            await self.page(browser)
        elif name == "say":
            await self.request(browser, "/say", query, method="POST", n=n)
            await self.page(browser)
        elif name == "desk":
            await self.request(browser, "/desk", query, n=n)
            self.said[n].identities = tuple(arg)
        else:
            await self.request(browser, f"/act/{name}", query, n=n)

    async def _play(self, steps: list[Step]) -> None:
        async with AsyncExitStack() as stack:
            self.apps = [self.app() for _ in range(self.workers)]
            self.states = [await stack.enter_async_context(lifespan(app)) for app in self.apps]
            async with trio.open_nursery() as self.tasks:
                for delay, kind, browser, arg in steps:
                    await trio.sleep(delay)
                    self.tasks.start_soon(self.step, kind, browser, arg)
                await trio.sleep(_REST)
            self.network.faults.clear()

    def play(self, steps: list[Step]) -> list[str]:
        """Play a story; return what of one person has reached another."""
        with _virtual_time(), patch.object(widget_api, "open_api_client", self._open_api_client):
            trio.run(self._play, steps, clock=trio.testing.MockClock(autojump_threshold=0))
        return [
            *self.problems,
            *self._wrong_keys(),
            *self._wrong_cookies(),
            *self._wrong_profiles(),
        ]

    @asynccontextmanager
    async def _open_api_client(
        self, config: UserComConfig, transport: None
    ) -> AsyncIterator[Network]:
        yield self.network

    # What must hold.

    def _wrong_keys(self) -> Iterator[str]:
        """A command travels under its browser's key, one that its own request was answered, or its own reset's."""
        resets = [set[str]() for _ in range(self.browsers)]
        answers: dict[int, list[tuple[str | None, str]]] = {}
        for each in self.network.calls:
            said = self.said[each.n]
            own = {said.cookie_key} | resets[said.browser]
            own |= {
                key
                for person, key in answers.get(each.n, [])
                if person == each.person or not said.identities
            }
            if each.key is not None and each.key not in own:
                yield f"e{each.n} of browser {said.browser} (about {each.person}) went out under {each.key}, not {own}"
            if each.answered is not None:
                answers.setdefault(each.n, []).append((each.person, each.answered))
                is_creating = (
                    self.settings.get("anonymous") == "create"
                    and each.key is None
                    and each.person is None
                )
                if each.is_reset or is_creating:
                    resets[said.browser].add(each.answered)

    def _wrong_cookies(self) -> Iterator[str]:
        """A response gives a browser no key but those that User.com named in answer to that browser's own requests."""
        for key, browser, n in self.given:
            named = {
                each.answered for each in self.network.calls if self.said[each.n].browser == browser
            }
            if key not in named:
                yield f"browser {browser} was given {key} in answer to request {n}, which another browser was named"

    def _wrong_profiles(self) -> Iterator[str]:
        """No profile holds events of two people, or what was done in a browser after its person had left."""
        if self.switches:
            return  # then User.com merges by what people type, and the two rules above are what is ours
        store = self.sandbox.store
        people: dict[str, set[str]] = {}
        for event in store.events:
            user, of = store.find(event.key), event.data.get("of")
            assert user is not None
            seen = people.setdefault(user.key, {user.user_id} if user.user_id else set())
            if of not in (None, "nobody"):
                seen.add(of)
            elif user.user_id and not self._may_be(self.said[int(event.name[1:])], user.user_id):
                yield f"{event.name} is of nobody, after {user.user_id} had left, and is on their profile"
        for key, seen in people.items():
            if len(seen) > 1:
                yield f"profile {key} holds events of {sorted(seen)}"

    def _may_be(self, anonymous: SentEvent, person: str) -> bool:
        """Return True unless this browser was this person's before, and a logout lies between."""
        earlier = [
            each for each in self.said.values()
            if each.person == person and each.browser == anonymous.browser and each.phase < anonymous.phase
        ]  # fmt: skip
        return not earlier


@contextmanager
def _virtual_time() -> Iterator[None]:
    real = time.time

    def now() -> float:
        try:
            return _START + trio.current_time()
        except RuntimeError:
            return real()

    with patch.object(time, "time", now):
        yield
