"""A browser without a screen: it keeps cookies and sends them."""

from __future__ import annotations

from http.cookies import SimpleCookie
from typing import Any

from starlette.types import ASGIApp

from helpers.asgi_client import Recorded, call


class FakeBrowser:
    """The cookie jar of a browser, for one host."""

    def __init__(self, **cookies: str) -> None:
        self.jar = dict(cookies)

    @property
    def headers(self) -> dict[str, str]:
        return {"cookie": "; ".join(f"{k}={v}" for k, v in self.jar.items())} if self.jar else {}

    def keep(self, got: Recorded) -> None:
        for line in got.all("set-cookie"):
            for name, morsel in SimpleCookie(line).items():
                if morsel["max-age"] == "0":
                    # Of one name in several places only the one that the widget uses is modelled here.
                    if "Domain=example.com" in line or name == "__ca__reset":
                        self.jar.pop(name, None)
                else:
                    self.jar[name] = morsel.value

    async def get(self, app: ASGIApp, path: str = "/", **scope: Any) -> Recorded:
        got = await call(app, path, headers=self.headers, **scope)
        self.keep(got)
        return got
