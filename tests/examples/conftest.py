"""The examples as a user runs them: processes of their own, on free ports, with nothing of ours in the environment."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import httpx
import pytest

if TYPE_CHECKING:
    import signal
    from collections.abc import Iterator, Mapping, Sequence

PATIENCE = 120.0  # for a machine that is busy with something else


@dataclass
class Program:
    """A running program; what it prints goes to a file, and so it is read only if it was flushed."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def output(self) -> str:
        return self.log.read_text("utf-8")

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Wait until the program has printed this."""
        deadline = time.monotonic() + PATIENCE
        while not (found := re.search(pattern, self.output)):
            assert self.process.poll() is None, (
                f"it ended with {self.process.returncode}:\n{self.output}"
            )
            assert time.monotonic() < deadline, f"{pattern} was not printed, but:\n{self.output}"
            time.sleep(0.02)
        return found

    def stop(self, number: signal.Signals) -> int:
        """Send a signal; return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)


Start: TypeAlias = Callable[..., Program]


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Start]:
    """`launch(["uvicorn", "shop:app"], folder, environ)` runs a command until the test ends."""
    with contextlib.ExitStack() as stack:

        def run(command: Sequence[str], folder: Path, environ: Mapping[str, str]) -> Program:
            log = tmp_path / f"{len(list(tmp_path.iterdir()))}.log"
            with log.open("wb") as output:
                process = subprocess.Popen(
                    command,
                    cwd=folder,
                    env=environ,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                )
            stack.enter_context(process)
            stack.callback(process.kill)  # before the context waits for it
            return Program(process, log)

        yield run


@pytest.fixture
def start(launch: Start) -> Start:
    """`start("usercom_asgi.cli", "demo", USERCOM_APP="acme")` runs `python -m usercom_asgi.cli demo`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("USERCOM_")}

    def run(*command: str, **environ: str) -> Program:
        return launch([sys.executable, "-m", *command], Path(__file__).parents[2], kept | environ)

    return run


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    """A browser without scripts: it keeps cookies and follows redirects."""
    with httpx.Client(follow_redirects=True, timeout=PATIENCE, trust_env=False) as browser:
        yield browser
