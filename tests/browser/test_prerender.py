"""Pages that Chromium prerenders: they count when they are shown.

Playwright switches prerendering off, so these tests start Chromium themselves.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.chromium import CHROMIUM
from helpers.fake_usercom import FakeUserCom
from helpers.serving import serve_app
from helpers.waiting import until_sync
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from usercom_asgi import UserComMiddleware

RULES = '{"prerender": [{"source": "list", "urls": ["/next"], "eagerness": "immediate"}]}'
FIRST = f"""<!doctype html><html><head><title>1</title><script type=speculationrules>{RULES}</script></head>
<body><script>(async () => {{
  while (!await (await fetch("/may-go")).json()) await new Promise((next) => setTimeout(next, 50));
  location.href = "/next";
}})()</script></body></html>"""
NEXT = """<!doctype html><html><head><title>2</title></head><body><script>
addEventListener("load", () => { if (document.prerendering) setTimeout(() => fetch("/prerendered"), 500); });
document.addEventListener("prerenderingchange", () => fetch("/activated"));
</script></body></html>"""


class Shop:
    """Two pages, of which the first has the second prerendered, and what they reported."""

    def __init__(self, usercom: FakeUserCom) -> None:
        self.reports: list[str] = []
        self.may_go = False
        routes = [
            Route("/", self._first),
            Route("/next", self._next),
            Route("/may-go", self._may_go),
            Route("/prerendered", self._report),
            Route("/activated", self._report),
        ]
        self.app = UserComMiddleware(Starlette(routes=routes), usercom.config())

    async def _first(self, request: Request) -> Response:
        return HTMLResponse(FIRST)

    async def _next(self, request: Request) -> Response:
        return HTMLResponse(NEXT)

    async def _may_go(self, request: Request) -> Response:
        return JSONResponse(self.may_go)

    async def _report(self, request: Request) -> Response:
        self.reports.append(request.url.path)
        return Response(b"")


@contextlib.contextmanager
def chromium_at(url: str, folder: Path) -> Iterator[None]:
    if not Path(CHROMIUM).exists():
        pytest.skip("there is no browser")
    arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run"]
    process = subprocess.Popen(
        [CHROMIUM, *arguments, f"--user-data-dir={folder}", "--remote-debugging-port=0", url],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(20)


def test_page_that_is_prerendered_counts_once_when_it_is_shown(
    usercom: FakeUserCom, tmp_path: Path
) -> None:
    def seen() -> list[str]:
        return [each.url.split("/", 3)[3] for each in usercom.store.hits]

    shop = Shop(usercom)
    # The second page is prerendered before the first one has got the visitor's key.
    usercom.faults.latency(2, times=1)
    with serve_app(shop.app) as port, chromium_at(f"http://localhost:{port}/", tmp_path):
        until_sync(lambda: shop.reports == ["/prerendered"], 60)
        until_sync(lambda: seen() == [""], 30)
        shop.may_go = True
        until_sync(lambda: "/activated" in shop.reports, 30)
        until_sync(lambda: seen() == ["", "next"], 30)
    assert len({each.key for each in usercom.store.hits}) == 1, "one visitor"
