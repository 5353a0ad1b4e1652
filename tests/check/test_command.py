"""The command `usercom-asgi check`: settings, output and exit code."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest
from helpers.fake_usercom import FakeUserCom

from usercom_asgi.check.questions import QUESTIONS
from usercom_asgi.check.session import NAME
from usercom_asgi.cli import main
from usercom_asgi.sandbox.vendor import REST_TOKEN

Run = Callable[..., int]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [each for each in os.environ if each.startswith("USERCOM_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("USERCOM_REST_TOKEN", REST_TOKEN)
    monkeypatch.setattr("usercom_asgi.check.session.PAUSE", 0)


@pytest.fixture
def run(usercom: FakeUserCom) -> Run:
    return lambda *arguments: main(
        ["check", "--base-url", usercom.url, "--api-key", "ABC123", *arguments]
    )


def test_check_of_a_right_configuration_prints_a_line_per_check_and_returns_0(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run() == 0
    address, *lines = capsys.readouterr().out.splitlines()
    assert "channel='rest'" in address
    assert [each.split()[0] for each in lines] == ["ok"] * 5


def test_check_reads_the_environment_as_the_middleware_does(
    usercom: FakeUserCom, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("USERCOM_BASE_URL", usercom.url)
    monkeypatch.setenv("USERCOM_API_KEY", "WRONG1")
    monkeypatch.delenv("USERCOM_REST_TOKEN")
    assert main(["check"]) == 1
    shown = capsys.readouterr().out
    assert "fails    app key" in shown
    assert "skipped  token" in shown


def test_check_option_replaces_the_address_of_the_environment(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("USERCOM_APP", "acme")
    assert run() == 0


def test_check_with_json_option_prints_one_object_per_check(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--json") == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(each["name"], each["mark"]) for each in rows][2] == ("app key", "ok")


def test_check_of_a_library_that_is_switched_off_checks_and_notes_it(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("USERCOM_ENABLED", "0")
    assert run() == 0
    assert "USERCOM_ENABLED" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--app", "acme"],
        ["--app", "https://acme.user.com", "--api-key", "ABC123"],
        ["--app", "acme", "--api-key", "ABC123", "--timeout", "0"],
    ],
)
def test_check_of_a_malformed_configuration_returns_2_and_names_the_setting(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", *arguments]) == 2
    shown = capsys.readouterr()
    assert "UserComConfig." in shown.err
    assert not shown.out


@pytest.mark.parametrize(
    "arguments",
    [["--app", "a", "--base-url", "b"], ["--json", "--probe"], ["--rest-token", "x"]],
)
def test_check_with_wrong_options_returns_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["check", *arguments])
    assert stopped.value.code == 2


def test_probe_without_a_token_returns_2(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("USERCOM_REST_TOKEN")
    assert run("--probe", "--yes") == 2


def test_probe_without_a_terminal_is_refused_and_writes_nothing(
    run: Run,
    usercom: FakeUserCom,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    assert run("--probe") == 2
    assert "--yes" in capsys.readouterr().err
    assert not usercom.store.users


@pytest.mark.parametrize("answer", ["", "\n", "n\n", "yes please\n"])
def test_probe_that_is_not_agreed_to_writes_nothing(
    answer: str,
    run: Run,
    usercom: FakeUserCom,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    assert run("--probe") == 0
    shown = capsys.readouterr()
    assert f"writes to {usercom.url}" in shown.err
    assert "##" not in shown.out
    assert not usercom.store.users


def test_probe_that_is_agreed_to_prints_a_report_without_token_and_key(
    run: Run,
    usercom: FakeUserCom,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal("y\n"))
    assert run("--probe") == 0
    shown = capsys.readouterr()
    assert "## usercom-asgi check --probe" in shown.out
    report = shown.out.partition("## ")[2]
    assert usercom.url not in report
    for secret in (REST_TOKEN, "ABC123"):
        assert secret not in shown.out + shown.err


def test_probe_after_a_refused_token_writes_nothing(
    run: Run, usercom: FakeUserCom, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("USERCOM_REST_TOKEN", "wrong-token-0123456789")
    assert run("--probe", "--yes") == 1
    assert not usercom.store.users


def test_probe_that_leaves_objects_returns_1_and_names_them(
    run: Run,
    usercom: FakeUserCom,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def forbid(_: object) -> str:
        usercom.faults.status(403, only="/api/public/tags/")
        return "The tags are locked."

    pairs = (*QUESTIONS, ("Locked?", forbid))
    monkeypatch.setattr("usercom_asgi.check.probe.QUESTIONS", pairs)
    assert run("--probe", "--yes") == 1
    assert f"which no call deletes; tag `{NAME}-" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="sends signals")
@pytest.mark.parametrize(
    ("sent", "sigint"),
    [("SIGINT", "default_int_handler"), ("SIGHUP", "default_int_handler"), ("SIGTERM", "SIG_IGN")],
)
def test_probe_that_is_interrupted_cleans_up_and_returns_130(
    usercom: FakeUserCom, sent: str, sigint: str
) -> None:
    """A background job of a script ignores SIGINT."""
    usercom.faults.hang(only="/site-views/")
    # A test run behind nohup ignores SIGHUP, and its child would, too.
    program = f"import signal, sys; signal.signal(signal.SIGHUP, signal.SIG_DFL); signal.signal(signal.SIGINT, signal.{sigint}); from usercom_asgi.cli import main; sys.exit(main(sys.argv[1:]))"
    arguments = ["check", "--base-url", usercom.url, "--api-key", "ABC123", "--probe", "--yes"]
    # Not under coverage, where CPython 3.11.7 skipped an `except` of anyio in this program.
    environ = {name: value for name, value in os.environ.items() if "COV" not in name}
    with subprocess.Popen(
        [sys.executable, "-c", program, *arguments, "--timeout", "30"],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        until = time.monotonic() + 30
        while not usercom.store.faulted:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < until
            time.sleep(0.01)
        assert any(user.user_id for user in usercom.store.users.values())
        process.send_signal(getattr(signal, sent))
        out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "not asked" in out
    assert "Traceback" not in err
    assert not usercom.store.users
    assert NAME in out
