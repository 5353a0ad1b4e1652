"""Instructions of a request, counted with callgrind.

The counts are reproducible on a busy machine.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys

_ENVIRON = {**os.environ, "PYTHONHASHSEED": "0"}


def can_count() -> bool:
    return shutil.which("valgrind") is not None


def run(*program: str, before: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run `python -m` with these arguments."""
    return subprocess.run(
        [*before, sys.executable, "-m", *program],
        capture_output=True,
        text=True,
        check=True,
        env=_ENVIRON,
    )


def instructions(*program: str, few: int, many: int) -> float:
    """Return the instructions of one round of a program.

    Its last argument is the number of rounds.
    """

    def collected(count: int) -> int:
        done = run(
            *program,
            str(count),
            before=("valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"),
        )
        found = re.search(r"Collected : (\d+)", done.stderr)
        assert found, done.stderr
        return int(found[1])

    return (collected(many) - collected(few)) / (many - few)
