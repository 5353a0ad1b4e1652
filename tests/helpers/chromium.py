"""A real Chromium."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserType, sync_playwright

CHROMIUM = "/usr/bin/chromium"
#: Chromium without its windows: it takes half the CPU, and has no back/forward cache.
HEADLESS_SHELL = "/usr/bin/chromium-headless-shell"
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
    """Start Playwright and `launch` a browser."""
    with sync_playwright() as playwright:
        browser = launch(playwright.chromium, *resolver_rules, keeps_pages=keeps_pages)
        try:
            yield browser
        finally:
            browser.close()


def launch(browser_type: BrowserType, *resolver_rules: str, keeps_pages: bool = False) -> Browser:
    """Start a browser, with hosts mapped as in `MAP shop.example.com 127.0.0.1`; `keeps_pages` in memory for Back (bfcache)."""
    if not Path(CHROMIUM).exists():
        message = f"SKIPPED: there is no browser at {CHROMIUM}; install Debian's chromium to run this test"
        if os.environ.get("REQUIRE_BROWSER") == "1":
            pytest.fail(f"REQUIRE_BROWSER=1, and {message.removeprefix('SKIPPED: ')}")
        pytest.skip(message)
    rules = [f"--host-resolver-rules={', '.join(resolver_rules)}"] if resolver_rules else []
    if keeps_pages:
        rules.append("--enable-features=BackForwardCache")
    has_shell = Path(HEADLESS_SHELL).exists()
    return browser_type.launch(
        executable_path=HEADLESS_SHELL if has_shell and not keeps_pages else CHROMIUM,
        args=[*ARGS, *rules],
        # Playwright adds this argument.
        ignore_default_args=["--disable-back-forward-cache"] if keeps_pages else None,
    )
