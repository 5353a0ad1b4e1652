"""`make matrix`: try each server and framework, and write the tables of docs/matrix.md.

``ONLY=django`` tries the rows whose names have this text, and writes nothing.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from helpers.fake_usercom import FakeUserCom
from helpers.serving import forget
from servers.processes import server

from matrix.checks import CHECKS, Served
from matrix.subjects import FRAMEWORKS, SERVERS
from matrix.table import write
from usercom_asgi.sandbox import Sandbox, serve

if TYPE_CHECKING:
    from matrix.subjects import Subject

ROOT = Path(__file__).parents[1]


def run(subject: Subject, usercom: FakeUserCom, log: Path) -> dict[str, str]:
    """Run the checks on a server that is started for them; return the failures."""
    usercom.store.clear()
    failures: dict[str, str] = {}
    with server(subject.command, usercom, ROOT, log) as (process, url):
        served = Served(url, usercom, process, subject.is_http2, subject.asks_json)
        for name, check in CHECKS.items():
            if name in subject.left_out:
                continue
            try:
                check(served)
            except Exception as error:
                failures[name] = describe(error)
    forget(usercom.faults)
    return failures


def describe(error: Exception) -> str:
    """Return the line of the check that failed, and why."""
    frames = traceback.extract_tb(error.__traceback__)
    line = [each.line for each in frames if "site-packages" not in each.filename][-1]
    return f"{line} ({type(error).__name__}: {error})".replace("\n", " ")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m matrix", description=__doc__)
    parser.add_argument("--only", default="", help="a part of the names of the rows to try")
    only = parser.parse_args().only.lower()
    subjects = [each for each in (*SERVERS, *FRAMEWORKS) if only in each.name.lower()]
    results: dict[str, dict[str, str]] = {}
    has_failed = False
    with serve(Sandbox(api_key="ABC123")) as running, tempfile.TemporaryDirectory() as folder:
        usercom = FakeUserCom(running.sandbox, running.url)
        for n, subject in enumerate(subjects):
            log, began = Path(folder) / f"{n}.log", time.monotonic()
            try:
                failures = run(subject, usercom, log)
            except AssertionError as error:  # the server did not start
                failures = dict.fromkeys(CHECKS, describe(error))
            results[subject.name] = failures
            has_failed = has_failed or not failures.keys() <= subject.known.keys()
            print(
                f"{subject.name}: {failures or 'passed'} ({time.monotonic() - began:.0f} s)",
                flush=True,
            )
            if failures and only:
                lines = log.read_text(errors="replace").splitlines()
                print("\n".join(each for each in lines if "/burst" not in each))
    if not only:
        write(results)
    return int(has_failed)


if __name__ == "__main__":
    sys.exit(main())
