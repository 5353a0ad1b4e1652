"""API Gateway in one process: requests become events, and Mangum gets one at a time.

``python -m matrix.gateway MODULE:APP PORT``
"""

from __future__ import annotations

import asyncio
import base64
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib import import_module
from typing import Any

from mangum import Mangum


def event_of(request: BaseHTTPRequestHandler) -> dict[str, Any]:
    """Return the event of a request, of the payload's version 2.0."""
    path, _, query = request.path.partition("?")
    body = request.rfile.read(int(request.headers.get("content-length") or 0))
    cookies = request.headers.get("cookie", "")
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": query,
        "cookies": [each for each in cookies.split("; ") if each],
        # Behind API Gateway it is https, and the cookies are for https alone.
        "headers": {
            **{name.lower(): value for name, value in request.headers.items() if name.lower() != "cookie"},
            "x-forwarded-proto": "http",
        },
        "requestContext": {
            "http": {"method": request.command, "path": path, "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1", "userAgent": ""},
            "stage": "$default",
        },
        "body": base64.b64encode(body).decode(),
        "isBase64Encoded": True,
    }  # fmt: skip


def make_handler(handle: Mangum) -> type[BaseHTTPRequestHandler]:
    """Return a handler that answers with what an invocation returns."""

    class Gateway(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            result: Any = handle(event_of(self), {})
            body = result["body"].encode()
            if result.get("isBase64Encoded"):
                body = base64.b64decode(body)
            self.send_response(result["statusCode"])
            for name, value in result["headers"].items():
                if name.lower() != "content-length":
                    self.send_header(name, value)
            for cookie in result.get("cookies", []):
                self.send_header("set-cookie", cookie)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_POST = do_HEAD = do_GET  # noqa: N815  names of the standard library

    return Gateway


if __name__ == "__main__":
    # An instance of a function has one invocation at a time, in its main thread.
    asyncio.set_event_loop(asyncio.new_event_loop())
    HTTPServer.request_queue_size = 128
    module, _, name = sys.argv[1].partition(":")
    handler = Mangum(getattr(import_module(module), name))
    HTTPServer(("127.0.0.1", int(sys.argv[2])), make_handler(handler)).serve_forever()
