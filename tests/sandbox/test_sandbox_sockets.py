"""The widget's WebSocket, by a client that also sends nonsense."""

from __future__ import annotations

import contextlib
import resource
import socket
import sys
from typing import TYPE_CHECKING

import httpx
import pytest
from helpers.waiting import until_sync
from helpers.websocket import WebSocketClient
from wsproto.events import BytesMessage, Ping, TextMessage

from usercom_asgi.sandbox import RunningSandbox, Sandbox, chat, serve, sockets

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sandbox.conftest import Api

    from usercom_asgi.sandbox.store import User


@pytest.fixture
def user(sandbox: Sandbox) -> User:
    return sandbox.store.create()


def path_of(user: User, api_key: str = "ABC123") -> str:
    return f"/ws/widget/{api_key}/{user.key}/"


@pytest.fixture
def client(running: RunningSandbox, user: User) -> Iterator[WebSocketClient]:
    with WebSocketClient(running.url, path_of(user)) as client:
        yield client


def chat_frame(content: str, entropy: str = "") -> dict[str, object]:
    return {"type": "chat", "payload": {"content": content, "entropy": entropy, "id": entropy}}


def test_chat_frame_is_confirmed_answered_and_in_the_journal(
    client: WebSocketClient, sandbox: Sandbox, user: User, api: Api
) -> None:
    client.send({"type": "widget_ready"})
    client.send(chat_frame("Hello", "abc123def"))
    delivered = client.read("delivered")
    assert delivered["temp_id"] == "abc123def"
    own, reply = client.read("chat"), client.read("chat")
    assert (own["content"], own["is_native"], own["entropy"]) == ("Hello", False, "abc123def")
    assert own["id"] == delivered["real_id"]
    assert (reply["content"], reply["is_native"]) == (chat.REPLY, True)
    rows = api.http.get("/sandbox/entries?kind=chat").json()["rows"]
    assert [(row["what"], row["data"]["isAdmin"]) for row in reversed(rows)] == [
        ("Hello", False),
        (chat.REPLY, True),
    ]
    assert rows[0]["request"]["path"] == f"/ws/widget/ABC123/{user.key[:4]}…/"
    requests = api.http.get("/sandbox/requests").json()["rows"]
    assert [(each["method"], each["status"]) for each in requests] == [("WS", 200), ("WS", 101)]
    assert user.key not in str(requests)


def test_answer_on_the_page_reaches_every_socket_of_the_visitor_and_no_other(
    running: RunningSandbox, client: WebSocketClient, sandbox: Sandbox, user: User, api: Api
) -> None:
    stranger = sandbox.store.create()
    with (
        WebSocketClient(running.url, path_of(user)) as second,
        WebSocketClient(running.url, path_of(stranger)) as other,
    ):
        until_sync(lambda: sandbox.pushes.listeners.total() == 3)
        for number, content in ((user.id, "for you"), (stranger.id, "for the other")):
            body = {"visitor": number, "action": "message", "content": content}
            assert api.http.post("/sandbox/act", json=body).status_code == 200
        assert client.read("readAgent") == {"conversation_id": user.id}
        assert client.read("chat")["content"] == second.read("chat")["content"] == "for you"
        assert other.read("chat")["content"] == "for the other"


def test_read_frame_marks_the_conversation_read(
    client: WebSocketClient, sandbox: Sandbox, user: User, api: Api
) -> None:
    chat.add_line(sandbox, user, "Hi", is_admin=True)
    ping = {"apiKey": "ABC123", "userKey": user.key}

    def unread() -> object:
        return api.http.post("/api/v2/user-chatping/", json=ping).json()["unreadConversationList"]

    assert unread() == [user.id]
    client.send({"type": "read", "payload": {"conversation_id": user.id}})
    assert client.read("selfRead") == {"conversation_id": user.id}
    assert unread() == []


def test_handshake_without_the_right_keys_is_refused(
    running: RunningSandbox, sandbox: Sandbox, user: User
) -> None:
    for path, status in (
        (path_of(user, "OTHER1"), 403),
        ("/ws/widget/ABC123/unknown/", 404),
        ("/ws/other/", 403),
    ):
        with WebSocketClient(running.url, path) as client:
            assert client.status == status
    assert [each.status for each in sandbox.store.rejected] == [403, 404]
    assert not sandbox.pushes.listeners


def test_handshake_is_checked_for_its_host_and_open_to_any_origin(
    running: RunningSandbox, user: User
) -> None:
    with WebSocketClient(running.url, path_of(user), host="evil.example") as client:
        assert client.status == 421
    with WebSocketClient(running.url, path_of(user), origin="https://shop.example.com") as client:
        assert client.status == 101


def test_socket_of_a_sandbox_with_a_token_needs_the_keys_alone() -> None:
    sandbox = Sandbox()
    user = sandbox.store.create()
    with serve(sandbox, access_token="t0ken") as server:
        assert httpx.get(server.url).status_code == 401
        with WebSocketClient(server.url, path_of(user)) as client:
            assert client.status == 101
        with WebSocketClient(server.url, path_of(user), host="evil.example") as client:
            assert client.status == 421


@pytest.mark.parametrize(
    "frame",
    [
        "", "{", "[]", "null", '"chat"', "NaN", '{"type": null}', '{"type": ["chat"]}', '{"type": "chat"}',
        '{"type": "chat", "payload": []}', '{"type": "chat", "payload": {"content": ""}}',
        '{"type": "chat", "payload": {"content": {"a": 1}}}', '{"type": "chat", "payload": {"content": "a", "entropy": "<b>"}}',
        '{"type": "chat", "payload": {"content": "%s"}}' % ("a" * 10_001), '{"type": "unknown"}', "[" * 5_000,
    ],
)  # fmt: skip
def test_malformed_frame_is_recorded_and_the_socket_goes_on(
    client: WebSocketClient, sandbox: Sandbox, user: User, frame: str
) -> None:
    client.send(frame)
    client.send(chat_frame("still here \ud800"))
    assert client.read("chat")["content"] == "still here \ud800"
    (refused,) = sandbox.store.rejected
    assert (refused.status, refused.key) == (400, user.key)
    assert len(str(refused.body)) < 3_000
    assert [line["isAdmin"] for line in user.conversation] == [False, True]


def test_binary_frames_are_refused_and_the_tenth_closes_the_socket(
    client: WebSocketClient, sandbox: Sandbox
) -> None:
    for _ in range(sockets.MAX_REFUSED):
        client.send_event(BytesMessage(b"\xff\x00"))
    assert client.closing() == 1008
    assert len(sandbox.store.rejected) == sockets.MAX_REFUSED


def test_frame_over_the_limit_closes_the_socket(client: WebSocketClient, sandbox: Sandbox) -> None:
    client.send(chat_frame("a" * sockets.MAX_FRAME))
    assert client.closing() == 1009
    assert [each.status for each in sandbox.store.rejected] == [413]


def test_message_without_an_end_breaks_the_connection_and_needs_little_memory(
    client: WebSocketClient, running: RunningSandbox, user: User
) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with contextlib.suppress(ConnectionError):
        for _ in range(1_000):  # 64 MB
            client.send_event(TextMessage("a" * 65_536, message_finished=False))
        pytest.fail("the sandbox reads a message without an end")
    unit = 1 if sys.platform == "darwin" else 1024
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * unit < 20_000_000
    with WebSocketClient(running.url, path_of(user)) as again:
        assert again.status == 101


def test_broken_bytes_after_the_handshake_break_that_connection_alone(
    client: WebSocketClient, running: RunningSandbox, user: User
) -> None:
    client.socket.sendall(b"\xff" * 1_000)
    client.closing()
    with socket.create_connection(("127.0.0.1", int(running.url.rpartition(":")[2]))) as raw:
        raw.settimeout(20)
        raw.sendall(
            f"GET {path_of(user)} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n".encode()
        )
        assert raw.recv(12) == b"HTTP/1.1 400"
    with WebSocketClient(running.url, path_of(user)) as again:
        assert again.status == 101


def test_flood_of_lines_keeps_the_newest_of_a_conversation(sandbox: Sandbox, user: User) -> None:
    for number in range(chat.MAX_LINES + 50):
        chat.add_line(sandbox, user, str(number), is_admin=False)
    assert len(user.conversation) == chat.MAX_LINES
    assert user.conversation[-1]["content"] == str(chat.MAX_LINES + 49)
    assert len(sandbox.pushes.after(0)) <= 500


def test_more_sockets_than_the_limit_are_refused(
    running: RunningSandbox, sandbox: Sandbox, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "MAX_SOCKETS", 2)
    with (
        WebSocketClient(running.url, path_of(user)),
        WebSocketClient(running.url, path_of(user)),
    ):
        until_sync(lambda: sandbox.pushes.listeners.total() == 2)
        with WebSocketClient(running.url, path_of(user)) as third:
            assert third.status == 503
    until_sync(lambda: not sandbox.pushes.listeners)
    with WebSocketClient(running.url, path_of(user)) as again:
        assert again.status == 101


def test_faults_apply_to_the_handshake_and_to_lines(
    running: RunningSandbox, sandbox: Sandbox, user: User
) -> None:
    sandbox.faults.status(503, times=1, only="/ws/")
    with WebSocketClient(running.url, path_of(user)) as refused:
        assert refused.status == 503
    with WebSocketClient(running.url, path_of(user)) as client:
        sandbox.faults.latency(0.1, times=1)
        client.send(chat_frame("late"))
        assert client.read("chat")["content"] == "late"
        sandbox.faults.status(500, times=1)
        client.send(chat_frame("lost"))
        assert client.closing() == 1011
    assert [line["content"] for line in user.conversation] == ["late", chat.REPLY]
    assert len(sandbox.store.faulted) == 3


def test_merged_visitors_socket_gets_the_lines_of_the_survivor(
    client: WebSocketClient, sandbox: Sandbox, user: User
) -> None:
    survivor = sandbox.store.create()
    until_sync(lambda: sandbox.pushes.listeners[user.key])
    sandbox.store.merge(user, survivor)
    chat.add_line(sandbox, survivor, "Hi", is_admin=True)
    assert client.read("chat")["content"] == "Hi"
    client.send(chat_frame("me"))
    client.read("delivered")
    assert survivor.conversation[-2]["content"] == "me"


@pytest.mark.waits
def test_line_right_after_the_handshake_reaches_the_socket(
    running: RunningSandbox, sandbox: Sandbox, user: User
) -> None:
    for n in range(40):
        with WebSocketClient(running.url, path_of(user)) as client:
            chat.add_line(sandbox, user, f"Hi {n}", is_admin=True)
            assert client.read("chat")["content"] == f"Hi {n}"


def test_stop_of_the_server_closes_the_sockets() -> None:
    sandbox = Sandbox()
    user = sandbox.store.create()
    with serve(sandbox) as server:
        client = WebSocketClient(server.url, path_of(user))
        until_sync(lambda: sandbox.pushes.listeners)
    with client:
        assert client.closing() == 1012


def test_line_of_a_socket_is_in_the_file_soon(tmp_path: Path) -> None:
    path = tmp_path / "sandbox.db"
    sandbox = Sandbox(db=path)
    user = sandbox.store.create()
    with serve(sandbox) as server, WebSocketClient(server.url, path_of(user)) as client:
        client.send(chat_frame("keep me"))
        client.read("delivered")
    sandbox.close()
    again = Sandbox(db=path)
    (kept,) = again.store.users.values()
    assert kept.conversation[0]["content"] == "keep me"
    again.close()


@pytest.mark.slow
def test_client_that_never_reads_its_pongs_is_not_read_any_more(client: WebSocketClient) -> None:
    """They would be kept in memory, without an end."""
    client.socket.settimeout(2)

    def flood() -> None:
        # 131 MB: the kernel's buffers for both directions may grow to 74 MB.
        for _ in range(10_000):
            client.send({"type": "typing"})
            for _ in range(100):
                client.send_event(Ping(b"x" * 125))

    with pytest.raises(OSError, match=r"reset|Broken pipe|timed out"):
        flood()


def test_path_of_the_socket_over_http_explains_itself(api: Api, user: User) -> None:
    answer = api.http.get(path_of(user))
    assert answer.status_code == 426
    assert "wsproto" in answer.text


def test_server_without_wsproto_serves_http_and_warns(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("usercom_asgi.sandbox.uvicorn_server.find_spec", lambda name: None)
    sandbox = Sandbox()
    user = sandbox.store.create()
    with serve(sandbox) as server:
        assert "wsproto is missing" in caplog.text
        body = {"api_key": "ABC123", "user_key": user.key, "message": "Hello"}
        made = httpx.post(f"{server.url}/api/conversation/new/", json=body).json()
        assert made["reply"]["content"] == chat.REPLY
        with WebSocketClient(server.url, path_of(user)) as client:
            assert client.status == 426
