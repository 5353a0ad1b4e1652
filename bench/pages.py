"""`make bench`, second part: costs of adding a snippet to a page, beside peers.

Every variant runs in its own process, in turn, so that a slow moment of the machine
affects all. The best of several rounds counts. The peers are in the dependency group
`bench`; missing ones are left out.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from bench.counting import can_count, instructions
from bench.page_peers import VARIANTS
from bench.report import Report, parser, report_for

ROUNDS = 3
#: Variants whose instructions are counted, with the numbers of requests. The peers are
#: left out, because their imports would take minutes.
COUNTED = (
    "bare",
    "usercom_asgi, the injector",
    "usercom_asgi, the whole middleware",
    "usercom_asgi, with a logged-in user",
)
COUNTS = {"4 KB": (50, 250), "60 KB of head in 256-byte chunks": (5, 25)}


def run(variant: str) -> dict[str, list[float]] | None:
    command = [sys.executable, "-m", "bench.page_drive", variant]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    except subprocess.TimeoutExpired:
        print(f"{variant} is left out: it takes longer than 60 s")
        return None
    except subprocess.CalledProcessError as error:
        print(f"{variant} is left out: {error.stderr.strip().splitlines()[-1]}")
        return None
    found: dict[str, list[float]] = json.loads(done.stdout)
    return found


def shown(name: str, value: float, bare: float, injected: object) -> str:
    if name.startswith("peak"):
        text = f"{value / 1e6:,.2f} MB"
    elif name.startswith("first"):
        text = f"{value / 1e3:,.1f} ms"
    else:
        text = f"{value - bare:+,.0f} µs"
    return text if injected else f"{text} (not injected)"


def count(report: Report) -> None:
    pairs = [(variant, case) for variant in COUNTED for case in COUNTS]

    def counted(pair: tuple[str, str]) -> float:
        few, many = COUNTS[pair[1]]
        return instructions("bench.page_drive", *pair, few=few, many=many)

    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        found = dict(zip(pairs, pool.map(counted, pairs), strict=True))
    anonymous, user = COUNTED[-2:]
    rows = [
        [variant, *(f"{found[variant, case] / 1e3:,.0f}" for case in COUNTS)] for variant in COUNTED
    ]
    ratios = [f"{found[user, case] / found[anonymous, case]:.2f}" for case in COUNTS]
    report.add(
        "page-instructions",
        "Thousands of instructions a page, in all (callgrind)",
        ["", *COUNTS],
        [*rows, ["a logged-in user's page over an anonymous one", *ratios]],
    )


def main() -> None:
    report = report_for(parser("bench.pages").parse_args())
    best: dict[str, dict[str, list[float]]] = {}
    wanted = list(VARIANTS)
    for _ in range(ROUNDS):
        for variant in list(wanted):
            found = run(variant)
            if found is None:
                wanted.remove(variant)
                continue
            old = best.setdefault(variant, found)
            for name, (value, injected) in found.items():
                old[name] = [min(old[name][0], value), injected]
    bare = best["bare"]
    rows = [
        [
            "bare (in all)",
            *(shown(name, value, 0, True).lstrip("+") for name, (value, _) in bare.items()),
        ]
    ]
    rows += [
        [variant, *(shown(n, v, bare[n][0], injected) for n, (v, injected) in row.items())]
        for variant, row in best.items()
        if variant != "bare"
    ]
    title = f"Over the bare application, best of {ROUNDS} rounds"
    report.add("pages", title, ["", *bare], rows)
    if can_count():
        count(report)


if __name__ == "__main__":
    main()
