"""Faults of User.com on demand: statuses, latency, hanging and dropped connections."""

from __future__ import annotations

import math
import random
import re
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

import anyio

if TYPE_CHECKING:
    from collections.abc import Mapping

Sender = Literal["server", "widget"]
Kind = Literal["status", "latency", "hang", "drop", "down"]

_MAX_SECONDS = 1_000_000_000  # a clock takes no more than some 10**18
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"(?:[!-~\x80-\xff](?:[ \t!-~\x80-\xff]*[!-~\x80-\xff])?)?")
_FRAMING = ("connection", "content-length", "transfer-encoding")
_POLL_INTERVAL = 0.02  # seconds between checks whether a waiting request may continue


class Connection(Protocol):
    """Request or socket that a fault lets wait."""

    async def is_disconnected(self) -> bool:
        """Return whether the client has gone."""
        ...


@dataclass(eq=False)
class Fault:
    """One fault and the requests that it applies to."""

    kind: Kind
    code: int = 0
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    seconds: float = 0.0
    before: bool = True
    times: int | None = None
    only: str | None = None
    sender: Sender | None = None
    rate: float = 1.0

    def __post_init__(self) -> None:
        numbers = (self.code, self.seconds, 0 if self.times is None else self.times, self.rate)
        if any(isinstance(each, bool) or not isinstance(each, int | float) for each in numbers):
            raise TypeError("code, seconds, times and rate must be numbers")
        if self.kind == "status" and not (isinstance(self.code, int) and 200 <= self.code <= 599):
            raise ValueError(f"code must be an HTTP status from 200 to 599, got {self.code}")
        if not (0 <= self.seconds <= _MAX_SECONDS):
            raise ValueError(f"seconds must be a number from 0 to {_MAX_SECONDS}")
        if not (0 < self.rate <= 1):
            raise ValueError(f"rate must be over 0 and at most 1, got {self.rate}")
        if self.only is not None and not isinstance(self.only, str):
            raise TypeError("only must be a part of a path, such as '/api/v2/user-chatping/'")
        if self.times is not None and (not isinstance(self.times, int) or self.times < 1):
            raise ValueError(f"times must be a whole number of 1 or more, got {self.times}")
        if self.sender not in (None, "server", "widget"):
            raise ValueError("sender must be 'server' or 'widget'")
        self._check_headers()

    def _check_headers(self) -> None:
        for name, value in self.headers.items():
            if not isinstance(name, str) or not isinstance(value, str):
                raise TypeError("headers must map names to texts")
            if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
                raise ValueError("headers must map names of HTTP to texts of one line")
            if name.lower() in _FRAMING:
                raise ValueError(f"headers must not have {name}, which the server sets")

    def matches(self, path: str, sender: Sender) -> bool:
        """Return whether the fault applies; `rate` leaves it to chance."""
        is_meant = (self.only is None or self.only in path) and self.sender in (None, sender)
        return is_meant and (self.rate == 1 or random.random() < self.rate)  # noqa: S311  no secret

    def __str__(self) -> str:
        what = {
            "status": f"answers {self.code}",
            "latency": f"{'' if self.before else 'acts at once, '}answers after {self.seconds:g} s",
            "hang": "hangs",
            "drop": "drops the answer",
            "down": "is down",
        }[self.kind]
        limits = [
            f"{self.rate * 100:.3g} % of the requests" if self.rate < 1 else "",
            *(f"{name}: {value}" for name, value in self.headers.items()),
            f"{self.times} more" if self.times else "",
            self.only or "",
            f"{self.sender} only" if self.sender else "",
        ]
        return ", ".join([what, *filter(None, limits)])


class Faults:
    """The faults in force. Methods may be called from any thread.

    Latency is combined with one other fault. Faults with `times` apply first, in the
    order of the calls, and then end: `status(500, times=1)` and `status(503, times=1)`
    make one 500 and one 503. Of the others, the last one applies. `only` is a part of
    the path; `sender` selects requests of the widget or of servers.
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
        rate: float = 1.0,
    ) -> None:
        """Respond with this status to a part of the requests; process nothing."""
        self._add(
            Fault(
                "status",
                code=code,
                headers=dict(headers or {}),
                times=times,
                only=only,
                sender=sender,
                rate=rate,
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
        """Delay the processing, or with `before=False` only the response."""
        self._add(
            Fault("latency", seconds=seconds, before=before, times=times, only=only, sender=sender)
        )

    def hang(
        self, *, times: int | None = None, only: str | None = None, sender: Sender | None = None
    ) -> None:
        """Hold requests until the faults are cleared.

        A request is then processed, unless its client has disconnected.
        """
        self._add(Fault("hang", times=times, only=only, sender=sender))

    def drop(
        self, *, times: int | None = None, only: str | None = None, sender: Sender | None = None
    ) -> None:
        """Process requests, then close the connection without a response."""
        self._add(Fault("drop", times=times, only=only, sender=sender))

    def down(
        self, *, times: int | None = None, only: str | None = None, sender: Sender | None = None
    ) -> None:
        """Close the connection and process nothing, as a host that is down."""
        self._add(Fault("down", times=times, only=only, sender=sender))

    def remove(self, number: int) -> None:
        """Remove the fault at this place; resume the requests that wait."""
        with self._lock:
            if 0 <= number < len(self._faults):
                del self._faults[number]
                self._cleared += 1

    @property
    def stops(self) -> int:
        """How often `stop()` was called, so that a stream ends with the server."""
        return self._stopped

    def clear(self) -> None:
        """Remove all faults and resume the requests that wait."""
        with self._lock:
            self._faults.clear()
            self._cleared += 1

    def describe(self) -> list[str]:
        """Return a description of each fault in force."""
        with self._lock:
            return [str(fault) for fault in self._faults]

    def stop(self) -> None:
        """Abandon the requests that wait, because the server stops; keep the faults."""
        with self._lock:
            self._stopped += 1

    def next_faults(self, path: str, sender: Sender) -> tuple[Fault | None, Fault | None]:
        """Return latency and other fault for a request; count down `times`."""
        with self._lock:
            matching = [fault for fault in self._faults if fault.matches(path, sender)]
            latency = self._select([fault for fault in matching if fault.kind == "latency"])
            return latency, self._select([fault for fault in matching if fault.kind != "latency"])

    async def wait(self, request: Connection, seconds: float = math.inf) -> bool:
        """Wait until `clear()` at most; return whether the client is connected."""
        cleared, stopped, until = self._cleared, self._stopped, time.monotonic() + seconds
        while self._cleared == cleared and (left := until - time.monotonic()) > 0:
            if self._stopped != stopped or await request.is_disconnected():
                return False
            await anyio.sleep(min(left, _POLL_INTERVAL))
        return self._stopped == stopped  # clear() and stop() may both precede this check

    def _add(self, fault: Fault) -> None:
        with self._lock:
            self._faults.append(fault)

    def _select(self, faults: list[Fault]) -> Fault | None:
        chosen = next(
            (fault for fault in faults if fault.times is not None), faults[-1] if faults else None
        )
        if chosen is not None and chosen.times is not None:
            chosen.times -= 1
            if chosen.times <= 0:
                self._faults.remove(chosen)
        return chosen
