"""Servers in processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

import httpx
from helpers.fake_usercom import FakeUserCom
from helpers.serving import free_port

HERE = Path(__file__).parent


def start(
    command: Sequence[str],
    usercom: FakeUserCom,
    port: int,
    folder: Path = HERE,
    log: Path | None = None,
    /,
    **environ: str,
) -> subprocess.Popen[bytes]:
    """Start a server in a process group of its own; ``{port}`` in the command is replaced.

    Its output goes to a pipe, or to a file, which takes any amount of it.
    """
    settings: Mapping[str, str] = {
        **os.environ,
        "USERCOM_BASE_URL": usercom.url,
        "USERCOM_API_KEY": "ABC123",
        **environ,
    }
    with log.open("wb") if log else nullcontext(subprocess.PIPE) as output:
        return subprocess.Popen(
            [sys.executable, "-W", "error::ResourceWarning", *(each.format(port=port) for each in command)],
            cwd=folder, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            env={name: value for name, value in settings.items() if name != "PYTEST_CURRENT_TEST"},
        )  # fmt: skip


def wait_for(process: subprocess.Popen[bytes], url: str) -> None:
    end = time.monotonic() + 90
    while True:
        try:
            httpx.get(f"{url}/nothing", timeout=20)
        except httpx.TransportError:
            assert process.poll() is None, process.stdout and process.stdout.read().decode()
            assert time.monotonic() < end
            time.sleep(0.05)
        else:
            return


def end(process: subprocess.Popen[bytes]) -> None:
    """Leave nothing behind, its workers included."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdout:
        process.stdout.close()


@contextmanager
def server(
    command: Sequence[str],
    usercom: FakeUserCom,
    folder: Path = HERE,
    log: Path | None = None,
    /,
    **environ: str,
) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    port = free_port()
    process = start(command, usercom, port, folder, log, **environ)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(process, url)
        yield process, url
    finally:
        end(process)
