"""`make bench`: costs of a request, bare and inside different middleware, in one run.

Instructions are counted with callgrind, if valgrind is installed. Compare microseconds
only within a run.
"""

from __future__ import annotations

import os
import statistics
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from bench.apps import CASES, VARIANTS
from bench.counting import can_count, instructions, run

if TYPE_CHECKING:
    from collections.abc import Iterable

ROUNDS = 5


def microseconds(variant: str, case: str) -> float:
    count = 3000
    return float(run("bench.drive", variant, case, str(count)).stdout) / count * 1e6


def table(title: str, cells: dict[tuple[str, str], float]) -> Iterable[str]:
    yield f"\n{title}\n"
    yield "| | " + " | ".join(f"{case} | over bare" for case in CASES) + " |"
    yield "|---|" + "---:|---:|" * len(CASES)
    for variant in VARIANTS:
        row = [
            f"{cells[variant, case]:,.0f} | {cells[variant, case] - cells['bare', case]:+,.0f}"
            for case in CASES
        ]
        yield f"| {variant} | " + " | ".join(row) + " |"


def main() -> None:
    print(
        f"Python {sys.version.split()[0]}; JSON passing through, and a 10 KB page into which the snippet goes"
    )
    pairs = [(variant, case) for case in CASES for variant in VARIANTS]
    times: dict[tuple[str, str], list[float]] = {pair: [] for pair in pairs}
    for _ in range(ROUNDS):  # interleaved, so that a slow moment of the machine affects all
        for pair in pairs:
            times[pair].append(microseconds(*pair))
    print(
        "\n".join(
            table(
                "Microseconds a request (median of 5)",
                {k: statistics.median(v) for k, v in times.items()},
            )
        )
    )
    if not can_count():
        print("\nNo instruction counts: valgrind is not installed.")
        return
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        counts = dict(
            zip(
                pairs,
                pool.map(lambda pair: instructions("bench.drive", *pair, few=200, many=700), pairs),
                strict=True,
            )
        )
    print("\n".join(table("Instructions a request (callgrind)", counts)))


if __name__ == "__main__":
    main()
