"""What the beginning of a document shows."""

from __future__ import annotations

import time

import pytest

from usercom_asgi.page.injector import Injector, Skipped, inject
from usercom_asgi.page.locator import AMP
from usercom_asgi.page.preamble import has_doctype, is_amp

ADDED = b"<script>1</script>"


@pytest.mark.parametrize(
    ("begin", "expected"),
    [
        (b"<!doctype html>", True),
        (b"\xef\xbb\xbf\r\n <!DocType\nhtml PUBLIC '-//W3C//DTD'>", True),
        (b"<!-- a --><?xml version='1.0'?><!doctype html>", True),
        (b"<!doctypes>", False),
        (b"<!-- <!doctype html>", False),
        (b"<p><!doctype html>", False),
        (b"", False),
    ],
)
def test_has_doctype_only_at_the_beginning(begin: bytes, *, expected: bool) -> None:
    assert has_doctype(begin) is expected


def test_has_doctype_many_comments_take_linear_time() -> None:
    began = time.process_time()
    has_doctype(b"<!-->\n" * 100_000)
    assert time.process_time() - began < 5  # quadratic, it would take minutes


@pytest.mark.parametrize(
    "sign", [b"amp", b"AMP", "\u26a1".encode(), b"amp4ads", "\u26a14email".encode()]
)
def test_inject_amp_page_is_skipped_whole_and_in_a_stream(sign: bytes) -> None:
    page = b"<!doctype html>\n<html lang=en " + sign + b"><body>x</body></html>"
    assert is_amp(page)
    assert inject(page, ADDED) == Skipped(AMP)
    for in_head in (False, True):
        injector = Injector(ADDED, in_head=in_head)
        parts = [injector.feed(page[n : n + 1], last=n == len(page) - 1) for n in range(len(page))]
        assert b"".join(each for part in parts for each in part) == page
        assert injector.reason == AMP


@pytest.mark.parametrize(
    "tag", [b"<html>", b"<html class=amp>", b'<html data-a="amp >">', b"<html example>"]
)
def test_is_amp_other_attributes_are_no_amp(tag: bytes) -> None:
    assert not is_amp(b"<!doctype html>" + tag + b"<p amp>")
