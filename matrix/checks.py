"""The checks of each server and framework, from outside: by HTTP and in User.com."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import ssl
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
from helpers.waiting import until_sync
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    from helpers.fake_usercom import FakeUserCom

ALICE, BOB, CAROL = "17", "18", "19"
BURST, VISITORS = 200, 40
#: Of a visitor's page: the settings of the widget, which hold the user.
SETTINGS = re.compile(r"window\.civchat = (\{.*?\});")
STATIC = Path(__file__).parent / "static"
# Shared, because a client takes 50 ms to make one, and no check uses TLS.
_CONTEXT = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@dataclass
class Served:
    """An application that a server runs, and the User.com that it delivers to."""

    url: str
    usercom: FakeUserCom
    process: subprocess.Popen[bytes]
    is_http2: bool = False
    #: Websockets take JSON with a field, as those of htmx.
    asks_json: bool = False

    def browser(self, key: str | None = None) -> httpx.Client:
        """Return a browser without scripts, with the key of a visitor or a new one."""
        client = httpx.Client(
            base_url=self.url,
            headers={"accept": "text/html,*/*", "sec-fetch-mode": "navigate"},
            http1=not self.is_http2,
            http2=self.is_http2,
            timeout=30,
            trust_env=False,
            verify=_CONTEXT,
        )
        host = self.url.split("//")[1].split(":")[0]
        client.cookies.set("__ca__chat", key or self.new_keys(1)[0], domain=host)
        return client

    def new_keys(self, count: int) -> list[str]:
        """Create visitors as first pings of widgets do; return their user keys."""
        ping = {"apiKey": "ABC123", "url": "http://shop.example.com/"}
        with httpx.Client(trust_env=False, timeout=30, verify=_CONTEXT) as client:
            url = f"{self.usercom.url}/api/v2/user-chatping/"
            return [client.post(url, json=ping).json()["user"]["key"] for _ in range(count)]

    def events(self, name: str) -> list[tuple[str, dict[str, object]]]:
        """Return keys and data of the events of a name that User.com has."""
        return [(each.key, each.data) for each in self.usercom.store.events if each.name == name]


def key_of(client: httpx.Client) -> str:
    """Return the user key in the browser, of which it must have one."""
    (key,) = [each.value for each in client.cookies.jar if each.name == "__ca__chat"]
    assert key, "the browser has no user key"
    return key


def widget(page: httpx.Response) -> dict[str, object]:
    """Return the settings of the widget in a page, which must be there once."""
    found = SETTINGS.findall(page.text)
    assert len(found) == 1, f"{len(found)} snippets in a page of status {page.status_code}"
    assert page.text.index("window.civchat = ") < page.text.rindex("</body>")
    settings: dict[str, object] = json.loads(found[0])
    return settings


def check_page(served: Served) -> None:
    with served.browser() as client:
        page = client.get("/")
        assert page.status_code == 200
        assert "Buy" in page.text or "Ask" in page.text
        assert "user_id" not in widget(page)
        if "content-encoding" not in page.headers:
            assert int(page.headers.get("content-length", 0)) in (0, len(page.content))
        head = client.head("/")
        assert head.status_code in (200, 404, 405)
        assert not head.content


def check_json(served: Served) -> None:
    with served.browser() as client:
        response = client.get("/stock")
        assert response.json() == {"teapots": 3}
        assert response.headers["content-type"].startswith("application/json")
        assert response.text.strip() in ('{"teapots":3}', '{"teapots": 3}')
        until_sync(lambda: (key_of(client), {}) in served.events("stock_checked"))


def check_stream(served: Served) -> None:
    """Receive the first chunk while the application makes the others."""
    with served.browser() as client, client.stream("GET", "/stream") as response:
        times, text = list[float](), ""
        for chunk in response.iter_text():
            times.append(time.monotonic())
            text += chunk
        assert text.count("window.civchat = ") == 1
        assert text.index("three") < text.index("window.civchat = ") < text.index("</body>")
        assert times[-1] - times[0] > 0.2, "the response came in one piece"


def check_static(served: Served) -> None:
    with served.browser() as client:
        style = client.get("/static/shop.css")
        assert style.content == (STATIC / "shop.css").read_bytes()
        page = client.get("/static/page.html")
        widget(page)
        assert "Wash it by hand" in page.text
        again = client.get("/static/page.html", headers=_conditions(page))
        assert again.status_code == 304 or again.text == page.text


def _conditions(page: httpx.Response) -> dict[str, str]:
    names = {"etag": "if-none-match", "last-modified": "if-modified-since"}
    return {names[name]: page.headers[name] for name in names if name in page.headers}


def check_websocket(served: Served) -> None:
    (key,) = served.new_keys(1)
    url = served.url.replace("http", "ws", 1) + "/live"
    with connect(url, additional_headers={"cookie": f"__ca__chat={key}"}) as websocket:
        websocket.send(json.dumps({"question": "how many?"}) if served.asks_json else "how many?")
        assert "3 teapots" in str(websocket.recv(10))
        # hypercorn on trio ends if both sides close a websocket at the same moment.
        with suppress(ConnectionClosed, TimeoutError):
            websocket.recv(1)
    until_sync(lambda: (key, {"question": "how many?"}) in served.events("asked"))


def check_cookie(served: Served) -> None:
    """Keep the application's cookie beside those of the library."""
    with served.browser() as client:
        response = client.post(f"/login/{CAROL}")
        cookies = [each.partition("=")[0] for each in response.headers.get_list("set-cookie")]
        assert "__ca__identity" in cookies
        assert [each for each in cookies if not each.startswith("__ca__")], "no session cookie"
        assert len(set(cookies)) == len(cookies)


def check_login(served: Served) -> None:
    """Log in as Alice, then as Bob, then log out: each is a visitor of their own."""
    with served.browser() as client:
        first = key_of(client)
        assert client.post(f"/login/{ALICE}").is_redirect
        assert widget(client.get("/"))["user_id"] == ALICE
        until_sync(lambda: _logins(served, ALICE) == 1)
        assert client.post(f"/login/{BOB}").is_redirect
        assert widget(client.get("/"))["user_id"] == BOB
        until_sync(lambda: _logins(served, BOB) == 1)
        assert _logins(served, ALICE) == 1
        bobs = key_of(client)
        assert bobs != first
        assert client.post("/logout").is_redirect
        page = client.get("/")
        assert "user_id" not in widget(page)
        assert key_of(client) not in (bobs, first)


def _logins(served: Served, user_id: str) -> int:
    store = served.usercom.store
    user = store.by_user_id(user_id)
    return sum(user is not None and store.find(key) is user for key, _ in served.events("login"))


def check_reset(served: Served) -> None:
    with served.browser() as client:
        before = key_of(client)
        resets = len([each for each in served.usercom.store.hits if each.created_new_gu])
        assert client.post("/reset").is_success
        assert key_of(client) != before
        widget(client.get("/"))
        assert len([e for e in served.usercom.store.hits if e.created_new_gu]) == resets + 1


def check_404(served: Served) -> None:
    with served.browser() as client:
        page = client.get("/nothing")
        assert page.status_code == 404
        widget(page)


def check_500(served: Served) -> None:
    with served.browser() as client:
        page = client.get("/fail")
        assert page.status_code == 500
        widget(page)


def check_redirect(served: Served) -> None:
    """Run a command of the handler on the page that its redirect leads to, once."""
    with served.browser() as client:
        assert client.post("/buy").is_redirect
        page = client.get("/")
        assert page.text.count('"widget.open"') == 1
        assert '"widget.open"' not in client.get("/").text
        key = key_of(client)
        bought = served.usercom.store.product_events
        until_sync(lambda: [each for each in bought if each.key == key])


async def _burst(served: Served, keys: list[str]) -> None:
    async def visit(first: int, key: str) -> None:
        async with httpx.AsyncClient(
            base_url=served.url, timeout=60, trust_env=False, verify=_CONTEXT,
            http1=not served.is_http2, http2=served.is_http2, cookies={"__ca__chat": key},
        ) as client:  # fmt: skip
            for n in range(first, BURST, VISITORS):
                (await client.get("/burst", params={"n": n})).raise_for_status()

    async with asyncio.TaskGroup() as tasks:
        for first, key in enumerate(keys):
            tasks.create_task(visit(first, key))


def check_sigterm(served: Served) -> None:
    """Deliver all events of a burst that SIGTERM follows at once."""
    keys = served.new_keys(VISITORS)
    served.usercom.faults.latency(0.05)
    asyncio.run(_burst(served, keys))
    served.process.send_signal(signal.SIGTERM)
    served.process.wait(60)
    arrived = {data["n"] for _, data in served.events("burst")}
    assert len(served.events("burst")) == len(arrived), "events arrived twice"
    assert len(arrived) == BURST, f"{len(arrived)} of {BURST} events arrived"


#: In the order in which they run: the last one ends the server.
CHECKS: dict[str, Callable[[Served], object]] = {
    "page": check_page,
    "JSON": check_json,
    "stream": check_stream,
    "static": check_static,
    "websocket": check_websocket,
    "cookie": check_cookie,
    "login, logout": check_login,
    "reset": check_reset,
    "404": check_404,
    "500": check_500,
    "redirect": check_redirect,
    "SIGTERM": check_sigterm,
}
