"""A sandbox that keeps what it recorded in a file."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import httpx
import pytest
from helpers.waiting import until_sync

import usercom_asgi
from usercom_asgi.sandbox import Sandbox, Store, serve
from usercom_asgi.sandbox.__main__ import main
from usercom_asgi.sandbox.database import UnusableFileError
from usercom_asgi.sandbox.objects import Collection
from usercom_asgi.sandbox.store import Hit
from usercom_asgi.sandbox.vendor import REST_TOKEN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PING = "/api/v2/user-chatping/"
REST = {"Authorization": f"Token {REST_TOKEN}", "Accept": "*/*; version=2"}


@pytest.fixture
def reopen(tmp_path: Path) -> Iterator[Callable[[], Sandbox]]:
    """Closes the sandbox of a file and opens the next one."""
    opened: list[Sandbox] = []

    def again() -> Sandbox:
        close()
        opened.append(Sandbox(db=tmp_path / "sandbox.db"))
        return opened[-1]

    def close() -> None:
        for each in opened:
            each.close()

    yield again
    close()


def content(store: Store) -> dict[str, Any]:
    """Everything that a store holds, with the counters; the journal is made of the records."""
    derived = ("lock", "journal", "_found")
    values = {name: each for name, each in vars(store).items() if name not in derived}
    return {
        name: (plain(value), value.last_id) if isinstance(value, Collection) else plain(value)
        for name, value in values.items()
    }


def plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return type(value).__name__, asdict(value)
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, list) else value


def fill(sandbox: Sandbox) -> None:
    """Let each collection of the store hold something."""
    with serve(sandbox) as server, httpx.Client(base_url=server.url, timeout=30) as http:

        def ping(**values: Any) -> str:
            body = json.dumps({"apiKey": "ABC123", **values})  # httpx encodes no surrogates
            answer = http.post(PING, content=body)
            return str(answer.json()["user"]["key"])

        def rest(path: str, **body: Any) -> None:
            assert http.post(f"/api/public{path}", json=body, headers=REST).is_success

        first = ping(email="ann@example.com", company={"name": "Acme", "\U0001f600": 1e308})
        second = ping(user_id="u-2", plan=[None, {"a\ud800\0": True}], note="\u017c" * 300)
        own = {"api_key": "ABC123", "user_key": first, "domain": "d"}
        http.post("/api/event/", json={**own, "event": "one", "data": '{"a": 1}'})
        http.post("/api/event/", json={**own, "event": "two", "data": '{"big": 1e999}'})
        view = '{"product_id": 7, "event_type": "view"}'
        http.post("/api/product_event/", json={**own, "data": view})
        update = {"apiKey": "ABC123", "userKey": second, "data": [{"plan": "pro"}]}
        http.post("/api/update-attribute/", json=update)
        http.post("/api/conversation/new/", json={**own, "content": "hello"})
        http.post("/api/event/", content=b"\xff")
        sandbox.faults.status(500, times=1)
        http.post(PING)
        rest("/deals/", name="Deal", user_custom_id="u-2", products=[1], value=9.5)
        rest("/tags/", name="beta")
        rest("/lists/", name="News")
        rest("/attributes/", name="Plan X", content_type="clientuser", value_type="string")
        rest("/users-by-id/u-2/set_attribute/", attribute="missing", value=1)
        rest("/users-by-id/u-2/add_to_list/", list=1)
    sandbox.store.segments.add(name="VIP", user_ids=[1])
    sandbox.store.tags.add(name="deleted")
    del sandbox.store.tags[2]


def test_sandbox_reopened_has_everything(reopen: Callable[[], Sandbox]) -> None:
    before = reopen()
    fill(before)
    kept = content(before.store)
    assert [name for name, value in kept.items() if value in ([], {}, ({}, 0))] == []
    after = reopen()
    assert content(after.store) == kept
    assert list(after.store.users) == list(before.store.users)
    assert after.store.tags.add(name="next").id == 3
    assert after.store.create().id == len(after.store.users)


def test_sandbox_reopened_has_the_switches_and_no_faults(tmp_path: Path) -> None:
    path = tmp_path / "sandbox.db"
    with contextlib.closing(Sandbox(db=path, authorize_by_email=True)) as sandbox:
        sandbox.unified_identification, sandbox.authorize_by_email = True, False
        sandbox.faults.status(500)
    with contextlib.closing(Sandbox(db=path)) as sandbox:
        assert (sandbox.unified_identification, sandbox.authorize_by_email) == (True, False)
        assert sandbox.faults.describe() == []
        sandbox.unified_identification = False
    with contextlib.closing(Sandbox(db=path, authorize_by_email=True)) as sandbox:
        assert (sandbox.unified_identification, sandbox.authorize_by_email) == (False, True)


def test_sandbox_reopened_knows_what_changed_after_the_first_writing(
    reopen: Callable[[], Sandbox],
) -> None:
    fill(reopen())
    store = reopen().store
    one, two = list(store.users.values())[:2]
    store.merge(one, two)
    two.attributes["plan"] = "free"
    del store.products[1]
    store.deals[1].fields["name"] = "Other"
    del store.events[0]
    store.rejected.clear()
    kept = content(store)
    store = reopen().store
    assert content(store) == kept
    store.clear()
    kept = content(store)
    assert content(reopen().store) == kept


def test_sandbox_whose_store_was_replaced_keeps_the_new_one(
    reopen: Callable[[], Sandbox],
) -> None:
    sandbox = reopen()
    sandbox.store.create("first")
    sandbox.flush()
    sandbox.store = Store()
    sandbox.store.create("second")
    assert list(reopen().store.users) == ["second"]


def test_sandbox_with_values_that_json_lacks_keeps_their_text(
    reopen: Callable[[], Sandbox],
) -> None:
    user = reopen().store.create("k")
    user.attributes["path"] = Path("/a")
    assert reopen().store.users["k"].attributes == {"path": "/a"}


def test_sandbox_closed_twice_and_unserved_is_at_rest(reopen: Callable[[], Sandbox]) -> None:
    sandbox = reopen()
    sandbox.close()
    sandbox.close()
    sandbox.flush()
    Sandbox().close()
    Sandbox().flush()


def test_file_is_readable_for_its_owner_only(tmp_path: Path) -> None:
    sandbox = Sandbox(db=tmp_path / "a.db")
    sandbox.store.create()
    sandbox.flush()
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    sandbox.close()


@pytest.mark.slow
def test_file_in_use_raises_a_clear_error(tmp_path: Path) -> None:
    path = str(tmp_path / "a.db")
    sandbox = Sandbox(db=path)
    for _ in range(2):  # an attempt in the same process does not end the lock
        with pytest.raises(UnusableFileError, match="another sandbox uses it"):
            Sandbox(db=path)
    done = run("-c", f"from usercom_asgi.sandbox import Sandbox; Sandbox(db={path!r})")
    assert "another sandbox uses it" in done.stderr.splitlines()[-1]
    sandbox.close()
    Sandbox(db=path).close()


@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_file_of_another_program_is_refused_and_left_alone(tmp_path: Path, journal: str) -> None:
    path = tmp_path / "other.db"
    other = sqlite3.connect(path)
    other.execute(f"PRAGMA journal_mode = {journal}")
    other.execute("CREATE TABLE records (kind, id, body)")
    other.close()
    before = path.read_bytes()
    with pytest.raises(UnusableFileError, match="it is not a sandbox's file"):
        Sandbox(db=path)
    assert path.read_bytes() == before


def test_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("notes " * 1000)
    with pytest.raises(UnusableFileError, match="not a database"):
        Sandbox(db=path)
    assert path.read_text() == "notes " * 1000


def test_file_of_another_version_or_content_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    Sandbox(db=path).close()
    for statement, reason in {
        "PRAGMA user_version = 2": "it has version 2, and this sandbox reads 1",
        "INSERT INTO records VALUES ('users', 1, '{\"secret\": 1}')": r"cannot be read \(TypeError",
        "UPDATE records SET body = 'x'": r"cannot be read \(JSON",
        "UPDATE records SET kind = 'x', body = '{}'": r"cannot be read \(KeyError",
        "DROP TABLE records": r"cannot be read \(OperationalError",
    }.items():
        with sqlite3.connect(path) as file:
            file.execute("PRAGMA user_version = 1")
            file.execute(statement)
        file.close()
        with pytest.raises(UnusableFileError, match=reason):
            Sandbox(db=path)


def test_file_in_no_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "none" / "a.db"
    with pytest.raises(UnusableFileError, match="unable to open"):
        Sandbox(db=path)
    assert main(["--port", "0", "--db", str(path)]) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)


def test_file_that_cannot_be_written_logs_once_and_is_written_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.db"
    sandbox = Sandbox(db=path)
    file: Any = sandbox._file
    file._file.execute(
        "CREATE TEMP TRIGGER t BEFORE INSERT ON records BEGIN SELECT RAISE(ABORT, 'full'); END"
    )
    sandbox.store.create("k").attributes["email"] = "ann@example.com"
    file.mark_changed()
    until_sync(lambda: bool(caplog.records))
    time.sleep(0.3)
    [record] = caplog.records
    assert "ann@" not in record.getMessage()
    file._file.execute("DROP TRIGGER t")
    until_sync(lambda: "ann@" in "".join(read(path)))
    sandbox.close()


def test_store_changed_without_the_lock_does_not_stop_the_writing(tmp_path: Path) -> None:
    sandbox = Sandbox(db=tmp_path / "a.db")
    file: Any = sandbox._file
    user = sandbox.store.create("k")
    for number in range(5_000):
        user.attributes[f"a{number}"] = number
        if number % 100 == 0:
            file.mark_changed()
            sandbox.store.hits.append(hit(f"u{number}"))
    sandbox.close()
    again = Sandbox(db=tmp_path / "a.db")
    assert content(again.store) == content(sandbox.store)
    again.close()


def test_change_by_a_test_is_written_without_a_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("usercom_asgi.sandbox.persistence._IDLE_INTERVAL", 0.05)
    sandbox = Sandbox(db=tmp_path / "a.db")
    sandbox.store.create("by-a-test")
    until_sync(lambda: "by-a-test" in "".join(read(tmp_path / "a.db")))
    sandbox.close()


@pytest.mark.slow
def test_main_stopped_by_sigterm_has_written_everything(tmp_path: Path) -> None:
    with Program(tmp_path / "a.db") as program:
        key = program.ping()
        program.process.send_signal(signal.SIGTERM)
        assert program.process.wait(30) == 0
    sandbox = Sandbox(db=tmp_path / "a.db")
    assert list(sandbox.store.users) == [key]
    sandbox.close()


@pytest.mark.slow
def test_main_killed_loses_at_most_the_last_moments(tmp_path: Path) -> None:
    with Program(tmp_path / "a.db") as program:
        kept = [program.ping() for _ in range(20)]
        time.sleep(1)  # far more than the 100 ms, for a busy machine
        late = [program.ping() for _ in range(20)]
        program.process.kill()
        program.process.wait(30)
    sandbox = Sandbox(db=tmp_path / "a.db")  # the lock went with the process
    users = list(sandbox.store.users)
    assert users[:20] == kept
    assert users[20:] == late[: len(users) - 20]
    sandbox.close()


def hit(url: str) -> Hit:
    return Hit(
        key="k",
        url=url,
        domain="",
        referrer="",
        payload={},
        created_new_gu=False,
        from_widget=False,
        user_agent="",
    )


def read(path: Path) -> list[str]:
    """The bytes of the file and of its journal, which only the sandbox may open as a database."""
    return [each.read_bytes().decode("latin-1") for each in path.parent.glob(path.name + "*")]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=False, env=environment()
    )


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(Path(usercom_asgi.__file__).parents[1])}


class Program:
    """`python -m usercom_asgi.sandbox` with a file."""

    def __init__(self, path: Path) -> None:
        command = [sys.executable, "-m", "usercom_asgi.sandbox", "--port", "0", "--db", str(path)]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env=environment()
        )
        assert self.process.stdout
        self.process.stdout.readline()
        self.url = self.process.stdout.readline().split()[1]
        self.http = httpx.Client(base_url=self.url, timeout=30)

    def ping(self) -> str:
        answer = self.http.post(PING, json={"apiKey": "ABC123"})
        return str(answer.json()["user"]["key"])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()
        self.process.kill()
        self.process.communicate()


def test_switch_of_a_start_is_kept_for_the_next(tmp_path: Path) -> None:
    with contextlib.closing(Sandbox(db=tmp_path / "x.db", authorize_by_email=True)):
        pass
    with contextlib.closing(Sandbox(db=tmp_path / "x.db")) as later:
        assert (later.unified_identification, later.authorize_by_email) == (False, True)
