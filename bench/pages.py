"""`make bench`, its second half: what it costs to put a snippet into a page, beside others who do, in one run.

Every variant runs in a process of its own, in turn, so that a slow moment of the machine hits all; of several rounds the best
counts. The peers are in the dependency group `bench`; those that are not there are left out.
"""

from __future__ import annotations

import json
import subprocess
import sys

from bench.page_peers import VARIANTS

ROUNDS = 3


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


def main() -> None:
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
    print(f"\nPython {sys.version.split()[0]}; over the bare application, best of {ROUNDS} rounds\n")
    print("| | " + " | ".join(bare) + " |\n|---|" + "---:|" * len(bare))
    print("| bare | " + " | ".join(shown(name, value, 0, True) for name, (value, _) in bare.items()) + " |")
    for variant, row in best.items():
        if variant != "bare":
            print(f"| {variant} | " + " | ".join(shown(n, v, bare[n][0], injected) for n, (v, injected) in row.items()) + " |")


if __name__ == "__main__":
    main()
