"""The files of the package that a command crosses, from the handler to the socket."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from helpers.asgi_client import call, html, lifespan
from helpers.fake_usercom import FakeUserCom
from starlette.types import Receive, Scope, Send

import usercom_asgi
from usercom_asgi import UserComMiddleware, get_visitor
from usercom_asgi.api import client as module
from usercom_asgi.delivery.queue import QueueManager

if TYPE_CHECKING:
    import httpx2 as httpx
else:
    httpx = module.httpx

PACKAGE = Path(usercom_asgi.__file__).parent


def files_on_the_stack(until: str = "") -> list[str]:
    """Return the package's files on this call stack, below the function ``until``."""
    frame, files = sys._getframe(1), list[str]()
    while frame.f_back is not None and frame.f_code.co_name != until:
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(PACKAGE):
            files.append(path.relative_to(PACKAGE).as_posix())
        frame = frame.f_back
    return list(dict.fromkeys(reversed(files)))


async def test_event_reaches_the_socket_through_at_most_nine_files(
    usercom: FakeUserCom, monkeypatch: pytest.MonkeyPatch
) -> None:
    to_queue, to_socket = list[str](), list[str]()
    add = QueueManager.add

    def recording_add(self: QueueManager, *args: Any) -> None:
        to_queue[:] = files_on_the_stack(until="handler")
        add(self, *args)

    class Recording(httpx.AsyncHTTPTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            to_socket[:] = files_on_the_stack()
            return await super().handle_async_request(request)

    monkeypatch.setattr(QueueManager, "add", recording_add)

    async def handler(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await html(b"")(scope, receive, send)
            return
        await get_visitor(scope).event("purchase")
        await html(b"<html><body></body></html>")(scope, receive, send)

    async with Recording() as transport:
        app = UserComMiddleware(handler, usercom.config(), transport=transport)
        async with lifespan(app):
            await call(app, headers={"cookie": f"__ca__chat={usercom.new_user()}"})
    assert [each.name for each in usercom.store.events] == ["purchase"]
    assert to_queue[0] == "visitor/verbs.py"
    assert to_socket[-1] == "api/client.py"
    crossed = dict.fromkeys(to_queue + to_socket)
    assert len(crossed) <= 9, list(crossed)
