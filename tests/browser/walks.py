"""Random walks of two people through one browser: `PYTHONPATH=tests python -m browser.walks 300 --seed 1`.

Whatever the order of logins, tabs, Back and slow answers, what one of them does is never
recorded in a profile of the other, and no page greets the one as the other. A sitting ends with
a logout, or where the other one logs in: what is done in it belongs to the person who logs in
during it, or to none. The sandbox's profiles are the judge.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import json
import multiprocessing
import random
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from helpers.chromium import chromium
from helpers.serving import serve_app
from playwright.sync_api import Browser, BrowserContext, Error, Page
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from usercom_asgi import UserComConfig, UserComMiddleware, get_visitor
from usercom_asgi.sandbox import Sandbox, serve

from .libraries import HTMX, TURBO

SECRETS = ("a secret of 16 characters or more",)
GREETING = (
    "(() => { const m = document.getElementById('__ue_widget_mount');"
    " return m ? m.shadowRoot.querySelector('strong').textContent : ''; })()"
)
# htmx has read the form's action before: there it is sent by the browser.
SEND = "path => { f.action = path; window.htmx ? f.submit() : go.click() }"
#: So many walks share a Chromium.
CHUNK = 2
#: Chromium rarely leaves a page from its memory without an answer for ever, and Playwright's
#: `evaluate` waits for it without a limit.
SECONDS_PER_CHUNK = 60
LIBRARIES = ("", "htmx2", "htmx4", "turbo")
# Kept over loads of the page, and read at the end of a walk.
COUNTS = """<script>
addEventListener("pageshow", function (event) { if (event.persisted) localStorage.kept = +(localStorage.kept || 0) + 1 });
</script>"""


COUNT_RELOADS = """try {
  const kept = sessionStorage.getItem("usercom.reload");
  if (kept && kept !== sessionStorage.seen) { sessionStorage.seen = kept; countReload(kept); }
} catch (e) {}"""


def person(name: str) -> dict[str, Any]:
    return {"user_id": f"id-{name}", "email": f"{name}@example.com", "first_name": name}


async def show(request: Request) -> Response:
    user, library = request.session.get("user"), request.app.state.library
    if user and not request.app.state.identifies:
        get_visitor(request).identify(**person(user))
    script = f'<script src="/{library}.js"></script>' if library else ""
    boost = {"htmx2": " hx-boost=true", "htmx4": " hx-boost:inherited=true"}.get(library, "")
    links = "".join(f'<a id="to{n}" href="/page/{n}">{n}</a> ' for n in range(3))
    ajax = (
        '<button id="htmx-out" hx-post="/logout/htmx" hx-target="#part">out</button>'
        if "htmx" in library
        else ""
    )
    return HTMLResponse(
        f"<!doctype html><html><head><title>{request.url.path}</title>{script}{COUNTS}</head><body{boost}>"
        f"<h1 id=who>{user or 'nobody'}</h1>{links}<div id=part>{ajax}</div>"
        "<form id=f method=post action=/x><button id=go>go</button></form></body></html>"
    )


async def login(request: Request) -> Response:
    name, user = request.path_params["name"], request.session.get("user")
    request.session["user"] = name
    if user not in (None, name) and not request.app.state.identifies:
        await get_visitor(request).reset_auth(**person(name))
    return RedirectResponse("/page/0", 303)


async def logout(request: Request) -> Response:
    request.session.clear()
    await get_visitor(request).reset_auth()
    how = request.path_params["how"]
    return (
        RedirectResponse("/page/1", 303)
        if how == "form"
        else JSONResponse({})
        if how == "json"
        else HTMLResponse("out")
    )


async def event(request: Request) -> Response:
    await get_visitor(request).event("server", by=request.path_params["by"])
    return RedirectResponse("/page/2", 303)


async def answer(request: Request) -> Response:
    return await show(request)


async def script(request: Request) -> Response:
    name = request.path_params["name"]
    return Response(TURBO if name == "turbo" else HTMX[name[-1]], media_type="text/javascript")


def who(connection: HTTPConnection) -> dict[str, Any] | None:
    user = connection.session.get("user")
    return person(user) if user else None


def shop(url: str, library: str, *, identifies: bool, **settings: Any) -> Starlette:
    config = UserComConfig(base_url=url, api_key="ABC123", secret_keys=SECRETS, **settings)
    routes = [
        Route("/page/{n:int}", show), Route("/login/{name}", login, methods=["POST"]), Route("/{name}.js", script),
        Route("/logout/{how}", logout, methods=["POST"]), Route("/event/{by}", event, methods=["POST"]),
        Route("/answer", answer, methods=["GET", "POST"]),
    ]  # fmt: skip
    ours = Middleware(UserComMiddleware, config=config, identify=who if identifies else None)
    app = Starlette(
        routes=routes, middleware=[Middleware(SessionMiddleware, secret_key="another secret"), ours]
    )
    app.state.library, app.state.identifies = library, identifies
    return app


@dataclass
class Walk:
    """Two people at one browser, in turn."""

    number: int
    context: BrowserContext
    url: str
    sandbox: Sandbox
    library: str
    bridge: bool
    choice: random.Random
    now: str | None = None
    sitting: int = 0
    owners: dict[int, str] = field(default_factory=dict[int, str])
    current: list[str] = field(default_factory=list[str])
    #: The keys of those who have logged out.
    ended: list[str] = field(default_factory=list[str])
    taken: list[str] = field(default_factory=list[str])
    faults: list[str] = field(default_factory=list[str])
    missed: list[str] = field(default_factory=list[str])
    tab: Page = field(init=False)

    STEPS = (
        ("login", 4), ("logout_form", 3), ("logout_fetch", 2), ("logout_htmx", 2), ("open_tab", 2), ("switch", 4), ("back", 6),
        ("forward", 3), ("push", 2), ("link", 3), ("submit", 1), ("server_event", 2), ("page_event", 5), ("page_hit", 2),
        ("reload", 1), ("close", 1), ("slow", 3), ("key_in_address", 2), ("early", 1), ("many_backs", 2),
    )  # fmt: skip

    @property
    def by(self) -> str:
        return f"{self.number}.{self.sitting}"

    def run(self, steps: int) -> None:
        self.tab = self.context.new_page()
        self.go(lambda: self.tab.goto(f"{self.url}/page/0", wait_until="commit"))
        names, weights = zip(*self.STEPS, strict=True)
        for name in self.choice.choices(names, weights, k=steps):
            self.taken.append(name)
            try:
                getattr(self, name)()
            except Error as error:  # the page went away under it
                self.missed.append(f"{name}: {str(error).splitlines()[0]}")
            self.look()
        self.tab.wait_for_timeout(700)

    def rest(self) -> None:
        self.tab.wait_for_timeout(self.choice.choice((0, 20, 60, 150, 400)))

    def go(self, move: Any) -> None:
        with contextlib.suppress(Error):
            move()
        self.rest()

    def post(self, path: str, *, settles: bool = False) -> None:
        if not settles:
            self.tab.evaluate(SEND, path)
        else:  # the session's cookie is there: who sits at the browser is another one from here on
            with self.tab.expect_response(f"**{path}", timeout=3_000):
                self.tab.evaluate(SEND, path)
        self.rest()

    def login(self) -> None:
        name = f"{self.choice.choice('ab')}{self.number}"
        self.post(f"/login/{name}", settles=True)

    def session(self) -> str | None:
        """Who is logged in, as the server knows."""
        cookie = next(
            (
                each.get("value", "")
                for each in self.context.cookies()
                if each.get("name") == "session"
            ),
            "",
        )
        text = base64.b64decode(cookie.partition(".")[0] + "==") if cookie else b"{}"
        user = json.loads(text or "{}").get("user")
        return None if user is None else str(user)

    def keys(self) -> list[str]:
        return [
            str(each.get("value"))
            for each in self.context.cookies()
            if each.get("name") == "__ca__chat"
        ]

    def sync(self) -> None:
        """See who is logged in now, which a slow answer may change after its step."""
        now = self.session()
        if now == self.now:
            self.current = self.keys()
            return
        if self.now is not None or now is None:
            self.ended += self.current
            self.sitting += 1
        self.now, self.current = now, self.keys()
        if now is not None:
            self.owners[self.sitting] = now

    def logout_form(self) -> None:
        self.post("/logout/form", settles=True)
        self.sync()

    def logout_fetch(self) -> None:
        self.tab.evaluate(
            "fetch('/logout/json', {method: 'POST'}).then(r => r.text()).then(() => 1)"
        )
        self.sync()
        self.rest()

    def logout_htmx(self) -> None:
        if not self.tab.evaluate("!!document.getElementById('htmx-out')"):
            return
        with self.tab.expect_response("**/logout/htmx", timeout=3_000):
            self.tab.evaluate("document.getElementById('htmx-out').click()")
        self.tab.wait_for_timeout(30)  # until the page has it
        self.sync()

    def open_tab(self) -> None:
        if len(self.context.pages) < 4:
            self.tab = self.context.new_page()
            self.go(
                lambda: self.tab.goto(
                    f"{self.url}/page/{self.choice.randrange(3)}", wait_until="commit"
                )
            )

    def switch(self) -> None:
        self.tab = self.choice.choice(self.context.pages)
        self.tab.bring_to_front()
        # Headless windows all count as visible, so the tab gets its focus event from here.
        self.tab.evaluate("dispatchEvent(new Event('focus'))")
        self.rest()

    def close(self) -> None:
        if len(self.context.pages) > 1:
            self.tab.close()
            self.tab = self.context.pages[-1]
            self.tab.bring_to_front()

    def back(self) -> None:
        self.tab.evaluate("setTimeout(() => history.back())")
        self.tab.wait_for_timeout(60)
        self.rest()
        if self.tab.url == "about:blank":
            self.forward()

    def many_backs(self) -> None:
        for _ in range(self.choice.randrange(2, 4)):
            self.back()

    def forward(self) -> None:
        self.tab.evaluate("setTimeout(() => history.forward())")
        self.tab.wait_for_timeout(60)
        self.rest()

    def push(self) -> None:
        self.tab.evaluate(f"history.pushState({{}}, '', '/page/{self.choice.randrange(3)}?state')")
        self.rest()

    def link(self) -> None:
        self.tab.evaluate(f"to{self.choice.randrange(3)}.click()")
        self.rest()

    def submit(self) -> None:
        self.post("/answer")

    def server_event(self) -> None:
        self.post(f"/event/{self.by}")

    def page_event(self) -> None:
        self.tab.evaluate("by => userengage('event.page', {by: by})", self.by)
        self.rest()

    def page_hit(self) -> None:
        self.tab.evaluate("by => UE.pageHit({event: {event_name: 'hit', by: by}})", self.by)
        self.rest()

    def early(self) -> None:
        """Send an event before the widget is loaded."""
        self.go(lambda: self.tab.goto(f"{self.url}/page/1", wait_until="commit"))
        self.tab.evaluate("by => userengage('event.early', {by: by})", self.by)

    def reload(self) -> None:
        self.go(lambda: self.tab.reload(wait_until="commit"))

    def slow(self) -> None:
        self.sandbox.faults.latency(
            self.choice.choice((0.2, 0.5, 0.9)),
            before=self.choice.random() < 0.4,
            times=1,
            sender="widget",
        )

    def key_in_address(self) -> None:
        """Open a link from a mail, with a key of the present person or an ended one."""
        mine = self.owners.get(self.sitting, f"nobody in sitting {self.sitting}")
        # A link with another person's key switches the visitor to that profile: a vendor feature.
        # Only ended keys and keys of the present person are used.
        keys = [
            *self.ended[-4:],
            *(key for key, owners in self.profiles().items() if owners == {mine}),
        ]
        if keys:
            key, nested = self.choice.choice(keys), self.choice.random() < 0.3
            query = f"next=%2Fpage%2F1%3F__ca__chat%3D{key}" if nested else f"__ca__chat={key}"
            self.go(lambda: self.tab.goto(f"{self.url}/page/1?{query}", wait_until="commit"))

    def profiles(self) -> dict[str, set[str | None]]:
        """Return the owners of the data in each profile."""
        found: dict[str, set[str | None]] = {}
        store = self.sandbox.store
        with store.lock:
            for each in store.events:
                number, _, sitting = str(each.data.get("by", "")).partition(".")
                if number == str(self.number):
                    owner = self.owners.get(int(sitting), f"nobody in sitting {sitting}")
                    user = store.find(each.key)
                    found.setdefault(user.key if user else each.key, set()).add(owner)
            for key in found:
                user = store.find(key)
                if user is not None and user.user_id is not None:
                    found[key].add(user.user_id.removeprefix("id-"))
        return found

    def look(self) -> None:
        """What is greeted in the page that is looked at; a page on its way out is given a moment."""
        end = time.monotonic() + 2.5
        while True:
            greeting = ""
            self.sync()
            with contextlib.suppress(Error):
                greeting = self.tab.evaluate(GREETING) or ""
            name = greeting.removeprefix("Hello, ") if greeting.startswith("Hello, ") else None
            if name is None or name == self.now:
                return
            if time.monotonic() > end:
                self.faults.append(f"a page greets {name}, and {self.now} is there")
                return
            self.tab.wait_for_timeout(50)

    def judge(self) -> None:
        for key, owners in self.profiles().items():
            if len(owners) > 1:
                self.faults.append(f"one profile ({key}) of {sorted(map(str, owners))}")
        self.sync()
        for key in self.keys():
            user = self.sandbox.store.find(key)
            if user is not None and user.user_id not in (None, f"id-{self.now}"):
                self.faults.append(f"the cookie is that of {user.user_id}, and {self.now} is there")


@dataclass
class Figures:
    """What the walks came to."""

    walks: int = 0
    steps: Counter[str] = field(default_factory=Counter[str])
    resets: int = 0
    restored: int = 0
    reloads: int = 0
    events: int = 0
    missed: Counter[str] = field(default_factory=Counter[str])
    faults: list[str] = field(default_factory=list[str])


def walk(browser: Browser, count: int, seed: int, steps: int = 14, *, first: int = 0) -> Figures:
    figures = Figures()
    variants = [
        (library, identifies, bridge)
        for library in LIBRARIES
        for identifies in (True, False)
        for bridge in (True, False)
    ]
    with contextlib.ExitStack() as stack:
        open_: dict[Any, tuple[str, Sandbox]] = {}
        for number in range(first, first + count):
            choice = random.Random(f"{seed}-{number}")
            library, identifies, bridge = variant = variants[number % len(variants)]
            if variant not in open_:
                sandbox = Sandbox(api_key="ABC123")
                server = stack.enter_context(serve(sandbox))
                port = stack.enter_context(
                    serve_app(shop(server.url, library, identifies=identifies, bridge=bridge))
                )
                open_[variant] = f"http://localhost:{port}", sandbox
            url, sandbox = open_[variant]
            context = browser.new_context()
            context.set_default_timeout(4_000)
            loads: list[str] = []
            context.expose_function("countReload", lambda what, loads=loads: loads.append(what))
            context.add_init_script(COUNT_RELOADS)
            one = Walk(number, context, url, sandbox, library, bridge, choice)
            with contextlib.suppress(Error):
                one.run(steps)
            one.judge()
            figures.missed.update(one.missed)
            figures.walks += 1
            figures.steps.update(one.taken)
            figures.resets += one.sitting
            figures.reloads += len(loads)
            with contextlib.suppress(Error):
                figures.restored += int(one.tab.evaluate("+(localStorage.kept || 0)"))
            figures.events += sum(
                str(each.data.get("by", "")).startswith(f"{number}.")
                for each in sandbox.store.events
            )
            where = f"walk {number} ({library or 'plain'}, identify={identifies}, bridge={bridge})"
            figures.faults += [f"{where}: {each}; {one.taken}" for each in one.faults]
            sandbox.faults.clear()
            context.close()
    return figures


def _work(task: tuple[int, int, int, int]) -> Figures:
    first, count, seed, steps = task
    with chromium(keeps_pages=True) as browser:
        return walk(browser, count, seed, steps, first=first)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("count", type=int)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=14)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    given = parser.parse_args()
    began, total, unfinished = time.monotonic(), Figures(), 0
    tasks = [
        (given.first + n, min(CHUNK, given.count - n), given.seed, given.steps)
        for n in range(0, given.count, CHUNK)
    ]
    with multiprocessing.get_context("spawn").Pool(given.jobs, maxtasksperchild=1) as pool:
        running = [pool.apply_async(_work, [task]) for task in tasks]
        for number, each in enumerate(running):
            # Those before it have ended, so it has run at least since then.
            try:
                part = each.get(SECONDS_PER_CHUNK)
            except multiprocessing.TimeoutError:
                unfinished += tasks[number][1]
                continue
            total.walks += part.walks
            total.steps += part.steps
            total.missed += part.missed
            for name in ("resets", "restored", "reloads", "events", "faults"):
                setattr(total, name, getattr(total, name) + getattr(part, name))
    lines = [
        *total.faults,
        *(f"{many} steps did not happen: {what}" for what, many in total.missed.most_common(12)),
    ]
    if unfinished:
        lines.append(f"{unfinished} walks did not end: Chromium did not answer")
    lines.append(
        f"{total.walks} walks, {sum(total.steps.values())} steps, {total.resets} resets, {total.restored} pages from"
        f" memory, {total.reloads} reloads by the guard, {total.events} events, {len(total.faults)} violations,"
        f" {time.monotonic() - began:.0f} s"
    )
    sys.stdout.write("\n".join(lines) + "\n")
    return 1 if total.faults else 0


if __name__ == "__main__":
    sys.exit(main())
