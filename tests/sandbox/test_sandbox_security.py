"""Who may reach a sandbox: by host, by origin, and with which token."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import httpx
import pytest
from starlette.routing import Route

from usercom_asgi.sandbox import RunningSandbox, Sandbox, serve
from usercom_asgi.sandbox.__main__ import main
from usercom_asgi.sandbox.security import Hosts, InsecureError, check_exposure, is_public
from usercom_asgi.sandbox.vendor import REST_TOKEN

if TYPE_CHECKING:
    from collections.abc import Iterator

PING = "/api/v2/user-chatping/"
BODY = {"apiKey": "ABC123", "url": "http://shop.example.com/"}
TOKEN = "t0ken-ż"
PAGE = ["/", "/sandbox/state", "/sandbox/dashboard.js", "/sandbox/nothing", "/nothing", "//api/"]
CHANGES = ["/sandbox/faults", "/sandbox/settings", "/sandbox/clear"]


@pytest.fixture(scope="module")
def locked() -> Iterator[RunningSandbox]:
    """A sandbox that asks for a token."""
    with serve(Sandbox(), access_token=TOKEN) as server:
        yield server


@pytest.fixture
def client(locked: RunningSandbox) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=locked.url, timeout=30) as client:
        yield client


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST.:80",
        "usercom.localhost:8900",
        "127.0.0.1",
        "127.9.9.9:1",
        "[::1]:8900",
        "[::ffff:127.0.0.1]",
        "shop.example.com",
        "a.b.dev.test:1",
    ],
)
def test_hosts_with_this_machine_or_an_allowed_name_admit_it(host: str) -> None:
    assert Hosts("127.0.0.1", "127.0.0.1", ("Shop.example.com", "*.dev.test")).admit(host)


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "evil.example:8900",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "evillocalhost",
        "evil.example@localhost",
        "localhost@evil.example",
        "localhost:1:2",
        "localhost evil",
        "localhost/",
        "[::1",
        "[localhost]",
        "192.0.2.7",
        "dev.test",
        "evildev.test",
        "\u0142.example",
        ":8900",
    ],
)
def test_hosts_with_another_name_refuse_it(host: str) -> None:
    assert not Hosts("127.0.0.1", "127.0.0.1", ("*.dev.test",)).admit(host)


def test_hosts_of_an_open_server_admit_addresses_and_no_names() -> None:
    hosts = Hosts("0.0.0.0", "0.0.0.0")
    assert hosts.admit("192.0.2.7:8900")
    assert not hosts.admit("evil.example")
    one = Hosts("box.lan", "192.0.2.7")
    assert [one.admit(each) for each in ("box.lan", "192.0.2.7", "192.0.2.8")] == [
        True,
        True,
        False,
    ]
    assert Hosts("::", "::", ("*",)).admit("evil.example")


@pytest.mark.parametrize("path", [*PAGE, "/widget.js", PING, "/api/public/users/"])
def test_server_asked_for_another_host_answers_421_with_the_remedy(
    http: httpx.Client, running: RunningSandbox, path: str
) -> None:
    for method in ("GET", "POST", "OPTIONS"):
        answer = http.request(method, running.url + path, headers={"Host": "evil.example:1"})
        assert answer.status_code == 421
        assert "--allowed-host evil.example," in answer.text
        assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("lines", [b"", b"Host: \r\n", b"Host: <b>\r\n", b"Host: a\xff\r\n"])
def test_server_without_a_valid_host_answers_400(running: RunningSandbox, lines: bytes) -> None:
    url = httpx.URL(running.url)
    with socket.create_connection((url.host, url.port or 0), 10) as connection:
        connection.sendall(b"GET /sandbox/state HTTP/1.0\r\n" + lines + b"\r\n")
        assert connection.makefile("rb").readline().split()[1] == b"400"


def test_server_with_an_allowed_host_answers_it() -> None:
    with serve(Sandbox(), allowed_hosts=["usercom.test"]) as server:
        answer = httpx.get(server.url + "/sandbox/state", headers={"Host": "usercom.test"})
        assert answer.status_code == 200


@pytest.mark.anyio
async def test_application_in_process_answers_any_host() -> None:
    transport = httpx.ASGITransport(app=Sandbox().app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        assert (await client.get("/sandbox/state")).status_code == 200
        assert (await client.post(PING, json=BODY)).status_code == 200


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "192.0.2.7", "fe80::1%eth0"])
def test_exposure_without_a_token_raises(address: str) -> None:
    for token in (None, ""):
        with pytest.raises(InsecureError, match="give an access token"):
            check_exposure(address, token)
    check_exposure(address, "t")


def test_serve_on_every_interface_without_a_token_raises_and_frees_the_port() -> None:
    with socket.create_server(("", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(InsecureError), serve(Sandbox(), host="0.0.0.0", port=port):
        pass
    socket.create_server(("", port)).close()


def test_main_on_every_interface_without_a_token_prints_a_clear_error(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("USERCOM_SANDBOX_ACCESS_TOKEN", raising=False)
    assert main(["--host", "0.0.0.0", "--port", "0"]) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "--access-token" in err


@pytest.mark.parametrize("path", PAGE)
def test_page_without_the_token_answers_401(client: httpx.Client, path: str) -> None:
    answer = client.get(path)
    assert (answer.status_code, answer.headers["www-authenticate"][:5]) == (401, "Basic")
    assert "shop" not in answer.text


@pytest.mark.parametrize("path", CHANGES)
def test_change_without_the_token_answers_401(client: httpx.Client, path: str) -> None:
    assert client.post(path, json={}, params={"token": TOKEN}).status_code == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Basic"},
        {"Authorization": "Basic \u00e4"},
        {"Authorization": "Basic Og=="},
        {"Authorization": "Bearer t0ken"},
        {"Cookie": "usercom_sandbox_0=x"},
        {"Cookie": "\u00e4=;;="},
    ],
)
def test_page_with_a_wrong_token_answers_401(client: httpx.Client, headers: dict[str, str]) -> None:
    raw = {name.encode(): value.encode("latin-1") for name, value in headers.items()}
    assert client.get("/sandbox/state", headers=raw).status_code == 401
    assert client.get("/sandbox/state?token=", headers=raw).status_code == 401
    assert client.get("/", params={"token": "t0ken"}).status_code == 401
    assert client.get("/", auth=("", "t0ken")).status_code == 401


def test_page_with_the_token_as_a_password_answers(client: httpx.Client) -> None:
    assert client.get("/sandbox/state", auth=("any", TOKEN)).status_code == 200
    assert client.post("/sandbox/clear", auth=("", TOKEN)).status_code == 200


def test_page_opened_once_with_the_token_keeps_a_cookie(client: httpx.Client) -> None:
    answer = client.get("/", params={"token": TOKEN, "a": "1"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/?a=1")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert TOKEN not in cookie
    assert client.get("/sandbox/state").status_code == 200
    assert client.post("/sandbox/clear").status_code == 200


def test_page_with_the_token_and_two_slashes_redirects_to_its_own_host(
    client: httpx.Client,
) -> None:
    answer = client.get(str(client.base_url) + "//evil.example/%5C", params={"token": TOKEN})
    assert answer.headers["location"] == "/evil.example/%5C"


def test_api_and_widget_keep_their_own_keys(client: httpx.Client) -> None:
    assert client.get("/widget.js").status_code == 200
    assert client.post(PING, json=BODY, headers={"Origin": "https://shop"}).status_code == 200
    assert client.post(PING, json={"apiKey": "no"}).status_code == 403
    rest = {"Authorization": f"Token {REST_TOKEN}", "Accept": "*/*; version=2"}
    assert client.get("/api/public/users/", headers=rest).status_code == 200
    assert client.get("/api/public/users/", auth=("", TOKEN)).status_code == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": "http://["},
        {"Origin": "http://[", "Sec-Fetch-Site": "same-origin"},
        {"Origin": "http://localhost:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "?"},
    ],
)
@pytest.mark.parametrize("path", CHANGES)
def test_change_from_a_foreign_origin_answers_403(
    http: httpx.Client, sandbox: Sandbox, headers: dict[str, str], path: str
) -> None:
    sandbox.store.create()
    body = {"kind": "hang"} if path.endswith("faults") else {}
    assert http.post(path, json=body, headers=headers).status_code == 403
    assert sandbox.store.users
    assert sandbox.faults.describe() == []


def test_change_from_the_own_page_or_a_program_is_made(
    http: httpx.Client, running: RunningSandbox, sandbox: Sandbox
) -> None:
    own: list[dict[str, str]] = [
        {},
        {"Origin": running.url},
        {"Origin": running.url, "Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
    ]
    for headers in own:
        sandbox.store.create()
        assert http.post("/sandbox/clear", headers=headers).status_code == 200
        assert not sandbox.store.users


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://["},
        {"Origin": "http://localhost:1", "Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
    ids=["malformed", "another port", "another site"],
)
def test_every_path_of_the_page_refuses_a_foreign_page(
    http: httpx.Client, sandbox: Sandbox, headers: dict[str, str]
) -> None:
    paths = [each.path.replace("{id:int}", "1").replace("{seq:int}", "1") for each in _routes(sandbox)]  # fmt: skip
    assert "/sandbox/visitors/1" in paths
    for path in paths:
        for method in ("GET", "POST"):
            is_page = path == "/" and method == "GET"
            if not is_page and not is_public(path):
                answer = http.request(method, path, headers=headers)
                assert (path, answer.status_code) == (path, 403)
                assert "let the proxy keep the header Host" in answer.json()["detail"]
    assert http.get("/", headers=headers).status_code == 200


def _routes(sandbox: Sandbox) -> list[Route]:
    return [each for each in sandbox.app.routes if isinstance(each, Route)]


def test_page_of_the_sandbox_is_not_readable_for_other_origins(http: httpx.Client) -> None:
    for path in PAGE:
        answer = http.get(path, headers={"Origin": "https://shop"})
        assert "access-control-allow-origin" not in answer.headers
    answer = http.get("/widget.js", headers={"Origin": "https://shop"})
    assert answer.headers["access-control-allow-origin"] == "https://shop"
