"""A row of the fault table."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Row:
    """Outcomes of one sender's events.

    Without ``delivered`` the row was left out, and ``note`` is the reason.
    """

    name: str
    delivered: int | None = None
    lost: int = 0
    #: Events that were received more than once in requests that were not rejected.
    twice: int = 0
    requests: int = 0
    #: Seconds until all had arrived; None if some were missing at the shutdown.
    arrived: float | None = None
    #: The longest request, and the longest lag of the event loop: in seconds on the
    #: clock, and in those of CPU time.
    request: list[float] | None = None
    lag: list[float] | None = None
    flush: str = ""
    note: str = ""

    def cells(self) -> list[str]:
        if self.delivered is None:
            return [self.name, *["–"] * 8, self.note]
        counts = [f"{count:,}" for count in (self.delivered, self.lost, self.twice, self.requests)]
        arrived = "–" if self.arrived is None else f"{self.arrived:.1f} s"
        return [
            self.name,
            *counts,
            arrived,
            _ms(self.request),
            _ms(self.lag),
            self.flush or "–",
            self.note,
        ]


HEAD = [
    "", "delivered", "lost", "sent twice", "requests", "all had arrived after", "longest request (of it CPU)",
    "longest loop lag (of it CPU)", "flush", "",
]  # fmt: skip


def print_table(title: str, rows: list[Row]) -> None:
    print(f"\n### {title}\n")
    print("| " + " | ".join(HEAD) + " |\n|---|" + "---:|" * (len(HEAD) - 2) + "---|")
    for row in rows:
        print("| " + " | ".join(row.cells()) + " |", flush=True)


def _ms(spans: list[float] | None) -> str:
    return (
        "–"
        if spans is None
        else " (".join(f"{span * 1e3:,.1f}" for span in spans)
        + (") ms" if len(spans) > 1 else " ms")
    )
