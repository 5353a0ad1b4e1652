"""A client of the sandbox's REST API."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from usercom_asgi.sandbox import Sandbox
from usercom_asgi.sandbox.vendor import REST_TOKEN

if TYPE_CHECKING:
    from usercom_asgi.sandbox import RunningSandbox

HEADERS = {"Authorization": f"Token {REST_TOKEN}", "Accept": "*/*; version=2"}


@dataclass
class Rest:
    """Sends calls with the token, to paths below `/api/public`."""

    http: httpx.Client

    def send(self, method: str, path: str, body: Any = None, **options: Any) -> httpx.Response:
        return self.http.request(method, f"/api/public{path}", json=body, **options)

    def get(self, path: str, **query: Any) -> Any:
        answer = self.send("GET", path, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, **body: Any) -> Any:
        """Post a body; return the JSON of a 2xx, None for an empty one."""
        answer = self.send("POST", path, body)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    def put(self, path: str, **body: Any) -> Any:
        answer = self.send("PUT", path, body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def user(self, **values: Any) -> Any:
        return self.post("/users/", **values)


@pytest.fixture(scope="module")
def rest_http(running: RunningSandbox) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=running.url, timeout=30, headers=HEADERS) as client:
        yield client


@pytest.fixture
def rest(rest_http: httpx.Client, sandbox: Sandbox) -> Rest:
    return Rest(rest_http)
