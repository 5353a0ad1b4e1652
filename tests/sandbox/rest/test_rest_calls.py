"""What every call has: token, version, routes, methods, bodies, pages, faults."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import httpx
import pytest

from usercom_asgi.sandbox import Sandbox, serve
from usercom_asgi.sandbox.rest import PATHS

if TYPE_CHECKING:
    from sandbox.conftest import Api
    from sandbox.rest.conftest import Rest

    from usercom_asgi.sandbox import RunningSandbox

VERSION = {"Accept": "*/*; version=2"}


@pytest.mark.parametrize(
    ("authorization", "sentence"),
    [
        (None, "Authentication credentials were not provided."),
        ("Token wrong", "Invalid token."),
        ("Bearer wrong", "Invalid token."),
        ("Token", "Authentication credentials were not provided."),
    ],
)
def test_call_without_the_token_is_answered_401(
    api: Api, sandbox: Sandbox, authorization: str | None, sentence: str
) -> None:
    headers = VERSION | ({"Authorization": authorization} if authorization else {})
    answer = api.http.get("/api/public/users/", headers=headers)
    assert (answer.status_code, answer.json()) == (401, {"detail": sentence})
    assert answer.headers["WWW-Authenticate"] == "Token"
    assert [(each.status, each.reason) for each in sandbox.store.rejected] == [(401, sentence)]


def test_call_with_a_token_of_its_own_is_answered() -> None:
    with serve(Sandbox(rest_token="secret")) as server:
        url, headers = f"{server.url}/api/public/users/", VERSION
        wrong = httpx.get(url, headers=headers | {"Authorization": f"Token {'0' * 64}"})
        right = httpx.get(url, headers=headers | {"Authorization": "Token secret"})
        assert (wrong.status_code, right.status_code) == (401, 200)


@pytest.mark.parametrize(
    "accept", ["*/*;version=2", "text/html, */*; version=2", "application/json;version=2"]
)
def test_call_with_version_2_is_answered(rest: Rest, accept: str) -> None:
    assert rest.send("GET", "/users/", headers={"Accept": accept}).status_code == 200


@pytest.mark.parametrize("accept", ["*/*", "*/*; version=1", "*/*; version=20", ""])
def test_call_without_version_2_is_answered_406(rest: Rest, sandbox: Sandbox, accept: str) -> None:
    answer = rest.send("GET", "/users/", headers={"Accept": accept})
    assert answer.status_code == 406
    assert "version=2" in answer.json()["detail"]
    assert sandbox.store.rejected[0].status == 406


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/nothing/"),
        ("POST", "/events"),
        ("GET", "/users?x=1"),
        ("PUT", "/users/1"),
        ("GET", "/"),
    ],
)
def test_unknown_route_or_missing_slash_is_answered_with_a_page(
    rest: Rest, sandbox: Sandbox, method: str, path: str
) -> None:
    answer = rest.send(method, path)
    assert answer.status_code == 404
    assert answer.headers["Content-Type"].startswith("text/html")
    assert "slash" in sandbox.store.rejected[0].reason


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("POST", "/users/1/", "GET, PUT, PATCH, DELETE, HEAD, OPTIONS"),
        ("DELETE", "/events/", "POST, OPTIONS"),
        ("POST", "/users/1/remove_tag/", "DELETE, OPTIONS"),
        ("POST", "/users/1/remove_attribute/", "DELETE, OPTIONS"),
        ("POST", "/users/1/remove_from_list/", "DELETE, OPTIONS"),
        ("DELETE", "/users-by-id/u-1/remove_tag/", "POST, OPTIONS"),
        ("DELETE", "/users-by-id/u-1/remove_attribute/", "POST, OPTIONS"),
        ("DELETE", "/users-by-id/u-1/remove_from_list/", "POST, OPTIONS"),
        ("TRACE", "/tags/", "GET, POST, HEAD, OPTIONS"),
        ("STRANGE", "/tags/", "GET, POST, HEAD, OPTIONS"),
    ],
)
def test_method_that_a_route_lacks_is_answered_405(
    rest: Rest, method: str, path: str, allow: str
) -> None:
    answer = rest.send(method, path)
    assert answer.status_code == 405
    assert answer.json() == {"detail": f'Method "{method}" not allowed.'}
    assert answer.headers["Allow"] == allow


def test_head_and_options_of_a_route_are_answered_without_a_body(rest: Rest) -> None:
    head, options = rest.send("HEAD", "/users/"), rest.send("OPTIONS", "/users/")
    assert (head.status_code, head.content) == (200, b"")
    assert (options.status_code, options.headers["Allow"]) == (200, "GET, POST, HEAD, OPTIONS")


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"[]",
        b'"x"',
        b"\xff",
        b'{"email": NaN}',
        b'{"score": 1e999}',
        b'{"score": ' + b"9" * 5_000 + b"}",
        b'{"score": ' + b"9" * 30 + b"}",
        b'{"plan": "\\u0000"}',
        b'{"plan": "\\ud800"}',
        b'{"plan": {"\\ud800": 1}}',
        b'{"\\u0000": 1}',
        b'{"plan": ' + b"[" * 60 + b"]" * 60 + b"}",
        b'{"plan": ' + b"[" * 100_000,
    ],
)
@pytest.mark.parametrize("path", ["/users/", "/events/", "/deals/"])
def test_malformed_body_is_answered_400(
    rest: Rest, sandbox: Sandbox, path: str, content: bytes
) -> None:
    headers = {"Content-Type": "application/json"}
    answer = rest.send("POST", path, content=content, headers=headers)
    assert answer.status_code == 400
    assert answer.json()["errors"]
    assert sandbox.store.rejected[0].status == 400


def test_body_of_another_media_type_is_answered_415(rest: Rest) -> None:
    assert rest.send("POST", "/users/", data={"email": "a@b.example"}).status_code == 415


@pytest.mark.parametrize("number", ["0", "9" * 19, "9" * 5_000, "x", "-1", "١", "%00", "1.0"])
@pytest.mark.parametrize("kind", ["users", "companies", "deals", "products", "attributes"])
def test_unknown_id_in_a_path_is_answered_404_and_is_no_refusal(
    rest: Rest, sandbox: Sandbox, kind: str, number: str
) -> None:
    answer = rest.send("GET", f"/{kind}/{number}/")
    assert (answer.status_code, answer.json()) == (404, {"detail": "Not found."})
    assert not sandbox.store.rejected


def test_list_of_many_rows_is_followed_in_pages_of_100(
    rest: Rest, sandbox: Sandbox, running: RunningSandbox
) -> None:
    for number in range(250):
        sandbox.store.update(sandbox.store.create(), {"email": f"{number}@b.example"})
    first = rest.get("/users/", with_email="true")
    assert (first["count"], first["previous"], len(first["results"])) == (250, None, 100)
    assert first["next"].startswith(f"{running.url}/api/public/users/?with_email=true&cursor=")
    second = rest.http.get(first["next"]).json()
    third = rest.http.get(second["next"]).json()
    assert [len(second["results"]), len(third["results"]), third["next"]] == [100, 50, None]
    pages = first, second, third
    emails = [row["email"] for page in pages for row in page["results"]]
    assert emails == [f"{number}@b.example" for number in range(250)]
    assert rest.http.get(third["previous"]).json()["results"] == second["results"]
    back = rest.http.get(second["previous"]).json()
    assert (back["results"], back["previous"]) == (first["results"], None)


def test_row_deleted_between_pages_makes_no_other_row_missing(rest: Rest, sandbox: Sandbox) -> None:
    for number in range(101):
        sandbox.store.tags.add(name=str(number))
    first = rest.get("/tags/")
    rest.send("DELETE", f"/tags/{first['results'][0]['id']}/")
    assert [row["name"] for row in rest.http.get(first["next"]).json()["results"]] == ["100"]


def test_last_page_with_the_switch_has_a_next_that_is_answered_404(
    rest: Rest, sandbox: Sandbox
) -> None:
    sandbox.rest_last_page_has_next = True
    rest.user(email="a@b.example")
    answer = rest.http.get(rest.get("/users/")["next"])
    assert (answer.status_code, answer.json()) == (404, {"detail": "Not found."})
    assert rest.get("/tags/")["next"] is None  # an empty list has one page


@pytest.mark.parametrize("cursor", ["x", "é", "YWZ0ZXI=", "/" * 300])
def test_malformed_cursor_is_answered_404(rest: Rest, cursor: str) -> None:
    assert rest.send("GET", "/users/", params={"cursor": cursor}).status_code == 404


def test_host_header_that_is_no_host_is_answered(rest: Rest, sandbox: Sandbox) -> None:
    for name in range(101):
        sandbox.store.tags.add(name=str(name))
    answer = rest.send("GET", "/tags/", headers={"Host": "["})
    assert answer.status_code in (200, 400)


def test_fault_on_a_path_applies_to_rest_as_of_a_server(rest: Rest, sandbox: Sandbox) -> None:
    sandbox.faults.status(503, times=1, headers={"Retry-After": "7"}, only="/api/public/users/")
    sandbox.faults.status(500, sender="widget")
    assert rest.send("GET", "/tags/", headers={"Origin": "https://a"}).status_code == 200
    answer = rest.send("POST", "/users/", {})
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "7")
    assert not sandbox.store.users
    assert [each.sender for each in sandbox.store.faulted] == ["server"]
    assert rest.send("POST", "/users/", {}).status_code == 201


def test_latency_delays_a_call(rest: Rest, sandbox: Sandbox) -> None:
    sandbox.faults.latency(0.1, times=1)
    began = time.monotonic()
    rest.get("/users/")
    assert time.monotonic() - began >= 0.09


def test_drop_processes_a_call_and_closes_the_connection(rest: Rest, sandbox: Sandbox) -> None:
    user = rest.user(custom_id="c-1")
    sandbox.faults.drop(times=1)
    with pytest.raises(httpx.RemoteProtocolError):
        rest.send("POST", "/events/", {"user_id": user["id"], "name": "e"})
    assert [each.name for each in sandbox.store.events] == ["e"]


def test_hang_ends_a_call_of_a_client_that_has_left(rest: Rest, sandbox: Sandbox) -> None:
    sandbox.faults.hang()
    with pytest.raises(httpx.ReadTimeout):
        rest.send("POST", "/users/", {}, timeout=0.1)
    assert not sandbox.store.users


def test_store_clear_empties_every_collection(rest: Rest, sandbox: Sandbox) -> None:
    user = rest.user(custom_id="c-1", tags=["a"], plan="x")
    rest.post("/events/", user_id=user["id"], name="e")
    rest.post("/lists/", name="l")
    for kind in ("companies", "deals", "products"):
        rest.post(f"/{kind}/", name="x", extra=1)
    store = sandbox.store
    store.clear()
    kept = [store.users, store.events, store.updates, store.ignored, store.tags, store.lists]
    kept += [store.companies, store.deals, store.products, store.attributes, store.segments]
    assert not any(kept)
    assert rest.post("/events/", user_id=rest.user()["id"], name="e")["created"] is True


def test_dashboard_state_with_rest_records_is_json(rest: Rest, api: Api) -> None:
    user = rest.user(custom_id="c-1", email="a@b.example")
    rest.post("/events/", user_id=user["id"], name="e", timestamp=1)
    rest.send("POST", "/users/", {"email": 5.5})
    rest.send("POST", "/users")
    state = json.loads(api.http.get("/sandbox/state").content)
    assert state["totals"]["refused"] == 2
    for path in ("visitors", "entries", "requests"):
        assert json.loads(api.http.get(f"/sandbox/{path}").content)["rows"]
    assert api.http.get("/sandbox/visitors").json()["rows"][0]["user_id"] == "c-1"


def test_paths_all_end_with_a_slash_and_have_handlers() -> None:
    assert all(path.endswith("/") and handlers for path, handlers in PATHS.items())
