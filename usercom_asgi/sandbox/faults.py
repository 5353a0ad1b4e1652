"""What can go wrong at User.com, on demand."""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import anyio

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request

Sender = Literal["server", "widget"]
Kind = Literal["status", "latency", "hang", "drop"]

_POLL = 0.02  # seconds between looks at whether a waiting request may go on


@dataclass(eq=False)
class Fault:
    """One thing that goes wrong, for the requests that it is about."""

    kind: Kind
    code: int = 0
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    seconds: float = 0.0
    before: bool = True
    times: int | None = None
    only: str | None = None
    sender: Sender | None = None

    def concerns(self, path: str, sender: Sender) -> bool:
        """Whether it is about such a request."""
        return (self.only is None or self.only in path) and self.sender in (None, sender)

    def __str__(self) -> str:
        what = {
            "status": f"answers {self.code}",
            "latency": f"{'' if self.before else 'acts at once, '}answers after {self.seconds:g} s",
            "hang": "hangs",
            "drop": "drops the answer",
        }[self.kind]
        limits = [
            f"{self.times} more" if self.times else "",
            self.only or "",
            f"{self.sender} only" if self.sender else "",
        ]
        return ", ".join([what, *filter(None, limits)])


class Faults:
    """The faults in force; from any thread. Latency adds to one of the others.

    A fault with `times` comes first, in the order of the calls, and is then gone: `status(500, times=1)` and
    `status(503, times=1)` make one 500 and one 503. Of those without, the last one counts. `only` is a part of the
    path, `sender` says whose requests are meant.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        self._cleared = 0
        self._stopped = 0

    def status(
        self,
        code: int,
        times: int | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        only: str | None = None,
        sender: Sender | None = None,
    ) -> None:
        """Answer with this status, and process nothing."""
        self._add(
            Fault(
                "status",
                code=code,
                headers=dict(headers or {}),
                times=times,
                only=only,
                sender=sender,
            )
        )

    def latency(
        self,
        seconds: float,
        *,
        before: bool = True,
        times: int | None = None,
        only: str | None = None,
        sender: Sender | None = None,
    ) -> None:
        """Wait before processing, or (`before=False`) process and wait with the answer."""
        self._add(
            Fault("latency", seconds=seconds, before=before, times=times, only=only, sender=sender)
        )

    def hang(
        self, *, times: int | None = None, only: str | None = None, sender: Sender | None = None
    ) -> None:
        """Neither process nor answer until the faults are cleared; never, if the client has gone by then."""
        self._add(Fault("hang", times=times, only=only, sender=sender))

    def drop(
        self, *, times: int | None = None, only: str | None = None, sender: Sender | None = None
    ) -> None:
        """Process, then close the connection without an answer."""
        self._add(Fault("drop", times=times, only=only, sender=sender))

    def clear(self) -> None:
        """Nothing goes wrong any more, and requests that hang or wait go on."""
        with self._lock:
            self._faults.clear()
            self._cleared += 1

    def describe(self) -> list[str]:
        """The faults in force, in words."""
        with self._lock:
            return [str(fault) for fault in self._faults]

    def stop(self) -> None:
        """Give up the requests that hang or wait, because the server stops; the faults stay."""
        with self._lock:
            self._stopped += 1

    def take(self, path: str, sender: Sender) -> tuple[Fault | None, Fault | None]:
        """The latency and the other fault that this request meets; counts down those with `times`."""
        with self._lock:
            mine = [fault for fault in self._faults if fault.concerns(path, sender)]
            latency = self._spend([fault for fault in mine if fault.kind == "latency"])
            return latency, self._spend([fault for fault in mine if fault.kind != "latency"])

    async def wait(self, request: Request, seconds: float = math.inf) -> bool:
        """Wait, but no longer than until `clear()`; whether there is still somebody to answer."""
        cleared, stopped, until = self._cleared, self._stopped, time.monotonic() + seconds
        while self._cleared == cleared and (left := until - time.monotonic()) > 0:
            if self._stopped != stopped or await request.is_disconnected():
                return False
            await anyio.sleep(min(left, _POLL))
        return self._stopped == stopped  # also if both were said between two looks

    def _add(self, fault: Fault) -> None:
        with self._lock:
            self._faults.append(fault)

    def _spend(self, faults: list[Fault]) -> Fault | None:
        chosen = next(
            (fault for fault in faults if fault.times is not None), faults[-1] if faults else None
        )
        if chosen is not None and chosen.times is not None:
            chosen.times -= 1
            if chosen.times <= 0:
                self._faults.remove(chosen)
        return chosen
