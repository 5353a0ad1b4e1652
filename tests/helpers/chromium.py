"""A real Chromium."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

CHROMIUM = "/usr/bin/chromium"
ARGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@contextlib.contextmanager
def chromium(*resolver_rules: str, keeps_pages: bool = False) -> Iterator[Browser]:
    """Start it, with hosts mapped as in `MAP shop.example.com 127.0.0.1`; `keeps_pages` in memory for Back (bfcache)."""
    if not Path(CHROMIUM).exists():
        message = f"SKIPPED: there is no browser at {CHROMIUM}; install Debian's chromium to run this test"
        if os.environ.get("REQUIRE_BROWSER") == "1":
            pytest.fail(f"REQUIRE_BROWSER=1, and {message.removeprefix('SKIPPED: ')}")
        pytest.skip(message)
    rules = [f"--host-resolver-rules={', '.join(resolver_rules)}"] if resolver_rules else []
    if keeps_pages:
        rules.append("--enable-features=BackForwardCache")
    without = ["--disable-back-forward-cache"] if keeps_pages else None  # which Playwright adds
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=[*ARGS, *rules], ignore_default_args=without
        )
        try:
            yield browser
        finally:
            browser.close()
