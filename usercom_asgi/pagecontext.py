"""Where a command comes from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class PageContext:
    """Where it was said: the page's address (free of ``__ca__chat``), the site's host, and the visitor's browser."""

    url: str = ""
    domain: str = ""
    referrer: str = ""
    user_agent: str = ""
