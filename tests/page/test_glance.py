"""The quick look at a page: what it remembers of the ends of pages decides nothing about what stands before them."""

from __future__ import annotations

import pytest

from usercom_asgi.page import glance
from usercom_asgi.page.glance import Ends, find_place_at_a_glance

HEAD = b"<!doctype html><html><head><title>t</title></head><body>"
FOOTER = b"<footer class='f'>" + b"<p>text</p>\n" * 100 + b'<script src="/a.js"></script></footer>\n'
END = b"</body></html>\n"


@pytest.fixture(autouse=True)
def ends(monkeypatch: pytest.MonkeyPatch) -> Ends:
    fresh = Ends(most=2)
    monkeypatch.setattr(glance, "_ENDS", fresh)
    return fresh


def page(middle: bytes, footer: bytes = FOOTER) -> bytes:
    return HEAD + middle + footer + END


def place(made: bytes) -> int:
    return len(made) - len(END)


def test_an_end_that_two_pages_have_is_known(ends: Ends) -> None:
    first, second, third = (page(b"<p>%d</p>" % n) for n in range(3))
    assert find_place_at_a_glance(first) == place(first)
    assert not ends.known
    assert find_place_at_a_glance(second) == place(second)
    assert [third.endswith(each) for each in ends.known] == [True]
    assert find_place_at_a_glance(third) == place(third)
    assert len(ends.known) == 1


def test_so_are_those_that_take_turns_and_the_oldest_goes(ends: Ends) -> None:
    footers = [FOOTER.replace(b"text", b"tex%d" % n) for n in range(3)]
    for _ in range(2):
        for footer in footers[:2]:
            find_place_at_a_glance(page(b"", footer))
    assert len(ends.known) == 2
    for _ in range(2):
        find_place_at_a_glance(page(b"", footers[2]))
    assert [page(b"", footer).endswith(ends.known) for footer in footers] == [False, True, True]


def test_what_one_page_alone_had_is_soon_forgotten(ends: Ends) -> None:
    for n in range(9):
        find_place_at_a_glance(page(b"", FOOTER + b"<p>Ann's %d</p>" % n))
    kept = [each for each in vars(ends).values() if isinstance(each, tuple)]
    assert sum(map(len, kept)) == 2


@pytest.mark.parametrize(
    "left_open",
    [
        b"<!-- ",
        b"<script>",
        b"<SCRIPT>x</SCRIPT><script>",
        b"<script><!-- <script>",
        b'<p title="',
        b"<p title='",
        b"<p title = \n'",
    ],
)
@pytest.mark.parametrize("between", [b"", b"<p>more</p>\n" * 200])
def test_what_is_left_open_before_a_known_end_is_seen_all_the_same(left_open: bytes, between: bytes, ends: Ends) -> None:
    footer = b"<p>text</p>\n" * 100
    for _ in range(3):
        assert find_place_at_a_glance(page(b"", footer)) >= 0
    assert len(ends.known) == 1
    assert find_place_at_a_glance(page(left_open + between, footer)) == -1


def test_an_end_in_which_something_is_left_open_is_never_known(ends: Ends) -> None:
    for _ in range(3):
        assert find_place_at_a_glance(page(b"", FOOTER + b"<textarea>")) == -1
    assert not ends.known
