"""The command `usercom-asgi`, and its verbs for an outbox."""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import anyio
import httpx
import pytest
from helpers.fake_sender import FAST, FakeSender, make_envelope
from helpers.waiting import until

import usercom_asgi
from usercom_asgi import Event, SqliteOutbox, UserComConfig
from usercom_asgi.cli import main, make_parser
from usercom_asgi.core.envelope import Envelope
from usercom_asgi.core.exceptions import RejectedError, UnavailableError
from usercom_asgi.delivery.retry import RetryPolicy
from usercom_asgi.delivery.service import DeliveryService
from usercom_asgi.demo import command as demo
from usercom_asgi.sandbox import __main__ as sandbox

CONFIG = UserComConfig(app="acme", api_key="ABC123", shutdown_timeout=0)


async def deliver(
    path: Path, post: FakeSender, *envelopes: Envelope, retry: RetryPolicy = FAST, sent: int = 0
) -> None:
    runtime = DeliveryService(post.open, CONFIG, retry, outbox=SqliteOutbox(path, lease=1))
    async with anyio.create_task_group() as tasks:
        await tasks.start(runtime.run)
        for each in envelopes:
            await runtime.submit(each).stored(5)
        await until(lambda: len(post.sent) >= sent)
        await runtime.drain()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Two commands wait, and one has died."""
    path = tmp_path / "usercom.db"
    died = FakeSender(
        RejectedError("POST /api/event/ answered 400", status=400, detail="bad name: Ann")
    )
    anyio.run(
        deliver,
        path,
        died,
        Envelope(
            command=Event("odd", {"name": "Ann"}), ordering_key="secretkey1", key="secretkey1"
        ),
    )
    anyio.run(_leave_two, path)
    return path


async def _leave_two(path: Path) -> None:
    down = FakeSender(*[UnavailableError("503")] * 10)
    await deliver(
        path,
        down,
        make_envelope(1, "secretkey2"),
        make_envelope(2, "secretkey2"),
        retry=RetryPolicy(initial_delay=60),
    )


def test_list_shows_waiting_and_dead_commands_without_values(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["outbox", "list", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "waiting: 2 (visitors: 1" in shown
    assert "dead letters: 1" in shown
    assert "Event('odd', data={name})" in shown
    assert "answered 400" in shown
    assert shown.count("Event('said', data={n})") == 2
    for secret in ("Ann", "secretkey"):
        assert secret not in shown


def test_list_with_values_option_shows_the_values(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["outbox", "list", str(path), "--dead", "--values"]) == 0
    shown = capsys.readouterr().out
    assert "bad name: Ann" in shown
    assert "secretkey1" in shown
    assert "said" not in shown.replace('"created_at"', "")


@pytest.mark.parametrize("values", [[], ["--values"], ["--json", "--values"]])
def test_list_of_hostile_names_and_answers_does_not_move_the_terminal(
    path: Path, capsys: pytest.CaptureFixture[str], values: list[str]
) -> None:
    odd = "\x85\u2028\x9b2J\u202e"
    refused = RejectedError("400", status=400, detail=f"{odd}\x1b[2J")
    command = Event(f"e{odd}", {f"n{odd}": odd})
    anyio.run(deliver, path, FakeSender(refused), Envelope(command=command, ordering_key="x"))
    with sqlite3.connect(path) as db:  # a file may be damaged as well
        db.execute("UPDATE dead SET body = body || char(27) || '[2J' WHERE id = 1")
    db.close()
    assert main(["outbox", "list", str(path), *values]) == 0
    shown = capsys.readouterr().out
    assert "2J" in shown
    assert not [each for each in shown if not each.isprintable() and each != "\n"]


def test_list_with_json_option_prints_one_object_per_line(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["outbox", "list", str(path), "--json", "--limit", "1"]) == 0
    waiting, dead = map(json.loads, capsys.readouterr().out.splitlines())
    assert waiting["command"] == "Event('said', data={n})"
    assert (dead["status"], dead["reason"]) == (400, "refused: POST /api/event/ answered 400")
    assert "body" not in dead


def test_retry_of_a_dead_letter_sends_the_command_again(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["outbox", "retry", str(path), "--all"]) == 0
    assert "queued again: 1" in capsys.readouterr().out
    post = FakeSender()

    async def run() -> None:
        await deliver(path, post, sent=3)

    anyio.run(run)
    assert sorted(command.name for _, command, _ in post.sent) == ["odd", "said", "said"]
    main(["outbox", "list", str(path)])
    assert "waiting: 0" in capsys.readouterr().out


@pytest.mark.waits
def test_retry_beside_a_running_service_sends_the_dead_letter(path: Path) -> None:
    post = FakeSender()

    async def run() -> None:
        runtime = DeliveryService(post.open, CONFIG, FAST, outbox=SqliteOutbox(path, lease=1))
        async with anyio.create_task_group() as tasks:
            await tasks.start(runtime.run)
            await until(lambda: len(post.sent) == 2)
            assert await anyio.to_thread.run_sync(main, ["outbox", "retry", str(path), "1"]) == 0
            await until(lambda: len(post.sent) == 3)
            await runtime.drain()

    anyio.run(run)
    assert post.sent[-1][1].name == "odd"


def test_purge_deletes_the_given_waiting_ids_and_all_dead_letters(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["outbox", "purge", str(path), "waiting", "2", "77"]) == 1
    assert "purged: 1" in capsys.readouterr().out
    assert main(["outbox", "purge", str(path), "dead", "--all"]) == 0
    main(["outbox", "list", str(path)])
    assert "waiting: 1 (visitors: 1" in (shown := capsys.readouterr().out)
    assert "dead letters: 0" in shown


def test_outbox_missing_file_or_wrong_arguments_fail_and_create_no_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["outbox", "list", str(tmp_path / "none.db")]) == 1
    assert "no such file" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    for arguments in (
        ["x.db"],
        ["purge", "x.db", "dead"],
        ["retry", "x.db"],
        ["purge", "x.db", "dead", "--all", "3"],
        ["list", "x.db", "--limit", "0"],
    ):
        with pytest.raises(SystemExit) as stopped:
            main(["outbox", *arguments])
        assert stopped.value.code == 2


@pytest.mark.parametrize("size", [0, 1])
def test_outbox_commands_on_another_file_fail_and_leave_the_file_unchanged(
    size: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_bytes(b"x" * size)
    for verb, *arguments in (["list"], ["retry", "--all"], ["purge", "dead", "--all"]):
        assert main(["outbox", verb, str(notes), *arguments]) == 1
        shown = capsys.readouterr()
        assert (shown.out, f"{notes}: " in shown.err) == ("", True)
    assert notes.read_bytes() == b"x" * size
    assert list(tmp_path.iterdir()) == [notes]


@pytest.mark.parametrize("number", [str(2**63), "9" * 20, "9" * 400])
def test_outbox_number_above_64_bits_is_a_valid_limit_and_an_unknown_id(
    number: str, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["outbox", "list", str(path), "--limit", number]) == 0
    assert "waiting: 2" in capsys.readouterr().out
    for verb, *arguments in (["retry", number], ["purge", "waiting", number]):
        assert main(["outbox", verb, str(path), *arguments]) == 1
        assert "some of these ids do not exist" in capsys.readouterr().err


def test_console_script_outbox_list_prints_the_waiting_commands(path: Path) -> None:
    script = Path(sys.executable).with_name("usercom-asgi")
    done = subprocess.run(
        [script, "outbox", "list", str(path)], capture_output=True, text=True, check=True
    )
    assert "waiting: 2" in done.stdout


def test_list_takes_options_before_and_after_the_path(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments in (["--json", str(path)], [str(path), "--json"]):
        assert main(["outbox", "list", *arguments]) == 0
        shown = capsys.readouterr().out.splitlines()
        assert [json.loads(line)["id"] for line in shown] == [2, 3, 1]


@pytest.mark.parametrize("action", [["purge", "dead", "--all"], ["retry", "--all"]])
def test_limit_is_refused_beside_retry_and_purge(
    action: list[str], path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["outbox", action[0], str(path), "--limit", "20", *action[1:]])
    assert stopped.value.code == 2
    main(["outbox", "list", str(path)])
    assert "dead letters: 1" in capsys.readouterr().out


def test_cli_as_a_module_runs_the_command() -> None:
    """Without the guard it would do nothing, and return 0."""
    arguments = [sys.executable, "-m", "usercom_asgi.cli", "check", "--app", "no dots.here"]
    found = subprocess.run(arguments, capture_output=True, text=True, timeout=60)
    assert (found.returncode, found.stdout) == (2, "")
    assert "usercom-asgi: UserComConfig." in found.stderr


def test_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out == f"usercom-asgi {usercom_asgi.__version__}\n"


#: Parsers of the commands that have their own.
SERVERS: dict[str, Callable[[], argparse.ArgumentParser]] = {
    "demo": demo.make_parser,
    "sandbox": sandbox.make_parser,
}


def commands(
    parser: argparse.ArgumentParser, path: tuple[str, ...] = ()
) -> Iterator[tuple[str, ...]]:
    """All commands with their subcommands, the bare one first."""
    yield path
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, each in action.choices.items():
                yield from commands(each, (*path, name))


COMMANDS = list(commands(make_parser()))


def test_commands_are_those_of_the_documentation() -> None:
    names = {" ".join(each) for each in COMMANDS if each}
    outbox = {"outbox", "outbox list", "outbox retry", "outbox purge"}
    assert names == {"check", "demo", "sandbox", *outbox}
    assert set(SERVERS) < names


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_of_every_command_has_examples_that_parse_and_exit_codes(
    command: tuple[str, ...],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")  # of Python 3.14, where FORCE_COLOR is set
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as end:
        main([*command, "--help"])
    assert end.value.code == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"usage: {' '.join(['usercom-asgi', *command])} ")
    assert max(map(len, printed.splitlines())) <= 100
    codes = re.findall(r"^  (\d+)  \S", printed.partition("\nexit codes:\n")[2], re.MULTILINE)
    assert codes[:3] == ["0", "1", "2"]
    examples = printed.partition("\nexamples:\n")[2].partition("\n\n")[0].splitlines()
    assert examples
    for line in examples:
        words = shlex.split(line)
        assert words[: 1 + len(command)] == ["usercom-asgi", *command]
        if words[1] in SERVERS:
            SERVERS[words[1]]().parse_args(words[2:])
        else:
            make_parser().parse_args(words[1:])


def test_ctrl_c_in_a_command_exits_130_without_a_traceback(
    path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("usercom_asgi.delivery.sqlite.admin.summary", lambda _: signal.raise_signal(signal.SIGINT))  # fmt: skip
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
    try:
        assert main(["outbox", "list", str(path)]) == 130
    finally:
        signal.signal(signal.SIGINT, before)
    assert capsys.readouterr().err == ""


def test_list_into_a_pipe_that_has_closed_ends_quietly(path: Path) -> None:
    command = [sys.executable, "-m", "usercom_asgi.cli", "outbox", "list", str(path)]
    environ = {**os.environ, "PYTHONUNBUFFERED": ""}  # as where nothing is set
    with subprocess.Popen(
        command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as listing:
        assert listing.stdout is not None
        assert listing.stderr is not None
        listing.stdout.close()
        assert listing.stderr.read() == b""
        assert listing.wait(60) == 0


@pytest.mark.parametrize("command", ["demo", "sandbox"])
def test_server_without_the_extra_prints_the_remedy(command: str) -> None:
    code = f"import sys; sys.modules['uvicorn'] = None; from usercom_asgi.cli import main; sys.exit(main([{command!r}]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "uvicorn is missing: install the extra sandbox" in done.stderr


def test_sandbox_is_served_by_the_command() -> None:
    pytest.importorskip("uvicorn", reason="needs the extra sandbox")
    command = [sys.executable, "-m", "usercom_asgi.cli", "sandbox", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as served:
        try:
            assert served.stdout is not None
            first, page = served.stdout.readline(), served.stdout.readline()
            assert first == "User.com sandbox, app key ABC123\n"
            answer = httpx.get(page.split()[-1] + "sandbox/state", timeout=30)
            assert answer.status_code == 200
        finally:
            served.terminate()
        assert served.wait(30) == 0
