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
from bench.report import parser, report_for

if TYPE_CHECKING:
    from collections.abc import Iterable

ROUNDS = 5


def microseconds(variant: str, case: str) -> float:
    count = 3000
    return float(run("bench.drive", variant, case, str(count)).stdout) / count * 1e6


def rows(cells: dict[tuple[str, str], float]) -> Iterable[list[str]]:
    for variant in VARIANTS:
        yield [
            variant,
            *(
                text
                for case in CASES
                for text in (
                    f"{cells[variant, case]:,.0f}",
                    f"{cells[variant, case] - cells['bare', case]:+,.0f}",
                )
            ),
        ]


def main() -> None:
    report = report_for(parser("bench").parse_args())
    print(f"Python {sys.version.split()[0]}")
    head = ["", *(text for what in CASES.values() for text in (what.title, "over bare"))]
    pairs = [(variant, case) for case in CASES for variant in VARIANTS]
    times: dict[tuple[str, str], list[float]] = {pair: [] for pair in pairs}
    for _ in range(ROUNDS):  # interleaved, so that a slow moment of the machine affects all
        for pair in pairs:
            times[pair].append(microseconds(*pair))
    medians = {pair: statistics.median(spans) for pair, spans in times.items()}
    report.add("requests", f"Microseconds a request (median of {ROUNDS})", head, rows(medians))
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
    report.add("instructions", "Instructions a request (callgrind)", head, rows(counts))


if __name__ == "__main__":
    main()
