"""`make bench`: what a request costs, bare and inside different middleware, in one run.

Instructions are counted with callgrind, where valgrind is there: (count at 700 requests - count at 200) / 500. They
repeat to the instruction, whatever else the machine is doing. Microseconds do not: read them as ratios within the run.
"""

from __future__ import annotations

import os
import re
import shutil
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from bench.apps import CASES, VARIANTS

if TYPE_CHECKING:
    from collections.abc import Iterable

FEW, MANY = 200, 700
ROUNDS = 5
ENVIRON = {**os.environ, "PYTHONHASHSEED": "0"}


def run(variant: str, case: str, count: int, *before: str) -> subprocess.CompletedProcess[str]:
    command = [*before, sys.executable, "-m", "bench.drive", variant, case, str(count)]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=ENVIRON)


def instructions(variant: str, case: str) -> float:
    def collected(count: int) -> int:
        done = run(variant, case, count, "valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null")
        found = re.search(r"Collected : (\d+)", done.stderr)
        assert found, done.stderr
        return int(found[1])

    return (collected(MANY) - collected(FEW)) / (MANY - FEW)


def microseconds(variant: str, case: str) -> float:
    count = 3000
    return float(run(variant, case, count).stdout) / count * 1e6


def table(title: str, cells: dict[tuple[str, str], float]) -> Iterable[str]:
    yield f"\n{title}\n"
    yield "| | " + " | ".join(f"{case} | over bare" for case in CASES) + " |"
    yield "|---|" + "---:|---:|" * len(CASES)
    for variant in VARIANTS:
        row = [f"{cells[variant, case]:,.0f} | {cells[variant, case] - cells['bare', case]:+,.0f}" for case in CASES]
        yield f"| {variant} | " + " | ".join(row) + " |"


def main() -> None:
    print(f"Python {sys.version.split()[0]}; JSON passing through, and a 10 KB page into which the snippet goes")
    pairs = [(variant, case) for case in CASES for variant in VARIANTS]
    times: dict[tuple[str, str], list[float]] = {pair: [] for pair in pairs}
    for _ in range(ROUNDS):  # interleaved, so that a slow moment of the machine hits all
        for pair in pairs:
            times[pair].append(microseconds(*pair))
    print("\n".join(table("Microseconds a request (median of 5)", {k: statistics.median(v) for k, v in times.items()})))
    if not shutil.which("valgrind"):
        print("\nNo instruction counts: valgrind is not installed.")
        return
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        counts = dict(zip(pairs, pool.map(lambda pair: instructions(*pair), pairs), strict=True))
    print("\n".join(table("Instructions a request (callgrind)", counts)))


if __name__ == "__main__":
    main()
