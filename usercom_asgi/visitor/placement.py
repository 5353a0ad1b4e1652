"""The snippet that the application places in its page by hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..core.envelope import PendingReset


@dataclass(slots=True, repr=False, eq=False)
class Placement:
    """What the placed snippet of one request holds, for the start of its response."""

    #: The script tags, without a nonce. Empty until the application has them.
    snippet: bytes = b""
    #: The nonce that the application gets with the tags.
    nonce: str | None = None
    #: True once the ``nonce`` hook was called.
    has_nonce: bool = False
    #: True if the snippet is for one visitor, so that no shared cache may keep the page.
    is_private: bool = False
    #: True if the snippet has commands that must run once.
    has_calls: bool = False
    #: The ids of the browser commands that do not have to wait for another page.
    call_ids: frozenset[object] = frozenset()
    #: The reset that the snippet knows of.
    reset: PendingReset | None = None

    @property
    def is_placed(self) -> bool:
        """True once the application has the tags."""
        return bool(self.snippet)
