"""Malformed input, which no endpoint of the sandbox may answer with a 500."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import random
import socket
from typing import Any

import httpx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from usercom_asgi.sandbox import RunningSandbox, Sandbox
from usercom_asgi.sandbox.endpoints import HANDLERS
from usercom_asgi.sandbox.rest import PATHS
from usercom_asgi.sandbox.vendor import REST_TOKEN

SECRET = "ann@example.com"
PAGE = ["/sandbox/faults", "/sandbox/settings", "/sandbox/clear", "/sandbox/state", "/"]
OWN = [*HANDLERS, *PAGE, "/widget.js", "/api/event", "/api/v2/user-chatping", "/nothing"]
REST = ["/api/public" + path for path in PATHS]
#: Names that the endpoints read, so that a body often gets beyond the first check.
NAMES = [
    "apiKey", "api_key", "userKey", "user_key", "user_id", "email", "url", "domain", "company",
    "company_id", "name", "event", "event_name", "data", "product_id", "event_type", "content",
    "create_new_gu", "kind", "code", "seconds", "times", "only", "sender", "headers", "before",
    "gender", "status", "score", "first_name", "timezone", "custom_id", "attribute", "value",
    "list", "ids", "tags", "products", "order_products", "parent", "users_list", "timestamp",
]  # fmt: skip
PLAIN = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=20)
    | st.sampled_from(
        ["ABC123", "key", "view", "status", "latency", "hang", "\ud800", "a\0b", "c-1", SECRET]
    )
    | st.sampled_from([10**400, 2**63, 1e308, -1, "9999-12-31T23:59:59-23:59", '{"a": [1]}'])
)
VALUES = st.recursive(
    PLAIN,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=10,
)
BODIES = st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=8)
METHODS = st.sampled_from(
    ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "Ż", "TRACE"]
)
BYTES = st.binary(max_size=60)


@pytest.fixture(scope="module")
def subject() -> Sandbox:
    return Sandbox(rest_creates_attributes=True)


def call(
    sandbox: Sandbox,
    method: str,
    path: str,
    body: bytes = b"",
    query: bytes = b"",
    headers: dict[str, bytes] | None = None,
) -> int:
    """Call the application as a server does; an exception of it fails the test."""
    scope: dict[str, Any] = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode("utf-8", "surrogatepass"),
        "query_string": query,
        "root_path": "",
        "server": ("127.0.0.1", 8900),
        "client": ("127.0.0.1", 1),
        "headers": [(name.encode(), value) for name, value in (headers or {}).items()],
    }
    statuses: list[int] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])
            for name, value in message["headers"]:
                assert isinstance(name, bytes)
                assert b"\n" not in value

    asyncio.run(sandbox.app(scope, receive, send))
    [status] = statuses
    return status


def reset(sandbox: Sandbox) -> None:
    """One user, whose key and ids are among the values; no faults, which would wait."""
    sandbox.store.clear()
    sandbox.store._last_id = 0
    sandbox.faults.clear()
    user = sandbox.store.create("key")
    sandbox.store.update(user, {"user_id": "c-1", "email": SECRET})


@settings(max_examples=80)
@given(st.sampled_from(OWN), st.sampled_from(["POST", "GET"]), BODIES, st.lists(VALUES, max_size=1))
@example("/sandbox/faults", "POST", {"kind": "status", "code": 500, "headers": {"a": "\u017c"}}, [])
@example("/sandbox/faults", "POST", {"kind": "status", "code": 500, "headers": {"a b": "c"}}, [])
@example("/sandbox/faults", "POST", {"kind": "latency", "seconds": 10**400}, [])
@example("/sandbox/faults", "POST", {"kind": "hang", "times": []}, [])
@example("/api/update-attribute/", "POST", {"data": [{"company": "Acme"}]}, [])
@example("/api/update-attribute/", "POST", {"data": [{"company": [1]}]}, [])
def test_endpoint_with_any_json_answers_no_500(
    subject: Sandbox, path: str, method: str, body: dict[str, Any], other: list[Any]
) -> None:
    reset(subject)
    keys = {"apiKey": "ABC123", "api_key": "ABC123", "userKey": "key", "user_key": "key"}
    sent = other[0] if other else (body if path.startswith("/sandbox/") else keys | body)
    assert call(subject, method, path, json.dumps(sent).encode()) < 500
    described = subject.faults.describe()
    assert call(subject, "GET", "/sandbox/state") == 200
    if described and "answers" in described[0] and "after" not in described[0]:
        call(subject, "POST", "/api/event/")  # the fault's own answer can be sent
    subject.faults.clear()
    rest = {"authorization": f"Token {REST_TOKEN}".encode(), "accept": b"*/*; version=2"}
    for each in ("/users/", "/users/1/timeline/", "/companies/", "/products/", "/attributes/"):
        assert call(subject, "GET", "/api/public" + each, headers=rest) in (200, 404)


@settings(max_examples=150)
@given(
    st.sampled_from([*OWN, *REST]) | st.text(max_size=20).map(lambda text: "/" + text),
    METHODS,
    BYTES | VALUES.map(lambda value: json.dumps(value).encode()),
    BYTES,
    st.dictionaries(
        st.sampled_from(
            ["origin", "host", "content-type", "content-length", "content-encoding", "accept"]
        )
        | st.sampled_from(
            ["user-agent", "cookie", "sec-fetch-site", "authorization", "transfer-encoding"]
        ),
        BYTES.filter(
            lambda value: b"\n" not in value and b"\r" not in value and b"\0" not in value
        ),
    ),
)
@example("/api/event", "POST", b"", b"", {"host": b"[", "origin": b"http://["})
@example("/sandbox/clear", "POST", b"", b"", {"host": b"[", "origin": b"http://["})
@example("/api/public/users/\ud800\0/", "GET", b"", b"", {})
def test_endpoint_with_any_bytes_answers_no_500(
    subject: Sandbox, path: str, method: str, body: bytes, query: bytes, headers: dict[str, bytes]
) -> None:
    reset(subject)
    filled = path.replace("{id}", "1").replace("{custom_id}", "c-1").replace("{name_std}", "plan")
    assert call(subject, method, filled, body, query, headers) < 500
    rest = {"authorization": f"Token {REST_TOKEN}".encode(), "accept": b"*/*; version=2"}
    if path in REST:
        types = {"content-type": b"application/json"}
        assert call(subject, method, filled, body, query, headers | rest | types) < 500


DEEP = b'{"a":' * 500 + b"1" + b"}" * 500


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe",
        b"\xef\xbb\xbf",
        b"[]",
        b"null",
        b'"a"',
        b"{",
        b'{"a": NaN}',
        b'{"a": ' + b"1" * 5_000 + b"}",
        b"[" * 100_000,
        DEEP,
        b'{"apiKey": "ABC123", "x": ' + DEEP + b"}",
        gzip.compress(b'{"apiKey": "ABC123"}', mtime=0),
    ],
)
@pytest.mark.parametrize("path", [*HANDLERS, "/sandbox/faults", "/sandbox/settings"])
def test_endpoint_with_a_body_that_is_no_object_answers_400(
    http: httpx.Client, sandbox: Sandbox, path: str, body: bytes
) -> None:
    if body or not path.startswith("/sandbox/"):
        assert http.post(path, content=body).status_code == 400
    assert http.get("/sandbox/state").status_code == 200


def test_events_with_nested_data_answer_400(http: httpx.Client, sandbox: Sandbox) -> None:
    key = sandbox.store.create().key
    own = {"api_key": "ABC123", "user_key": key, "event": "e", "data": DEEP.decode()}
    assert http.post("/api/event/", json=own).status_code == 400
    assert http.get("/sandbox/state").status_code == 200


LINES = [
    b"GET /%00%ED%A0%80/%zz HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET http://evil/%00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET * HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\nOrigin: \xff\r\n\r\n",
    b"GET /\x00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /\xff HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"G\xc5T / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"BREW / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil\r\n\r\n",
    b"POST /api/event/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
    b"POST /api/event/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1, 2\r\n\r\n{}",
    b"POST /api/event/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999999\r\n\r\n",
    b"POST /api/event/ HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n{}",
    b"POST /api/event/ HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"POST /api/event/ HTTP/1.1\r\nHost: localhost\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
    b"POST /api/event HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01",
]


def test_server_with_malformed_lines_answers_no_500_and_logs_nothing_personal(
    running: RunningSandbox, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    choice = random.Random(7)
    mutated = []
    for _ in range(80):
        changed = bytearray(choice.choice(LINES[:-2]))
        for _ in range(choice.randint(1, 3)):
            changed[choice.randrange(len(changed))] = choice.randrange(256)
        mutated.append(bytes(changed))
    url = httpx.URL(running.url)
    for line in [*LINES, *mutated]:
        sent = line.replace(b"localhost\r\n", f"localhost\r\nX-Mail: {SECRET}\r\n".encode(), 1)
        with socket.create_connection((url.host, url.port or 0), 10) as connection:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            try:
                first = connection.makefile("rb").readline()
            except ConnectionError:
                first = b""
        assert not first or first.split()[1] < b"500" or first.split()[1] == b"501", (line, first)
    assert httpx.get(running.url + "/sandbox/state").status_code == 200
    httpx.get(running.url + "/api/public/users/", params={"email": SECRET})
    logged = [each for each in caplog.records if not each.name.startswith("http")]
    assert SECRET not in "".join(each.getMessage() + str(each.exc_info) for each in logged)
