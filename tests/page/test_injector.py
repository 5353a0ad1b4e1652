from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from usercom_asgi.page.injector import HOLD, Injector

SNIPPET = b"<!-- the snippet -->"


def inject(*chunks: bytes) -> bytes:
    injector = Injector(SNIPPET)
    out = [part for chunk in chunks[:-1] for part in injector.feed(chunk, last=False)]
    out += injector.feed(chunks[-1], last=True)
    assert injector.held == b""
    return b"".join(out)


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        (b"<html><body>x</body></html>", b"<html><body>x%s</body></html>"),
        (b"x</BODY>", b"x%s</BODY>"),
        (b"x</Body\n >tail", b"x%s</Body\n >tail"),
        (b"a</body>b</body>c", b"a</body>b%s</body>c"),
        (b"<html><p>no end", b"<html><p>no end%s"),
        (b"<body class=x>no end", b"<body class=x>no end%s"),
        (b"<html>x</bod", b"<html>x</bod%s"),
        (b"<html>x</body", b"<html>x</body%s"),
        (b"<p>a fragment</p>", b"<p>a fragment</p>"),
        (b"<bodyguard></bodyguard>", b"<bodyguard></bodyguard>"),
        (b"", b""),
    ],
)
def test_where_the_snippet_goes(page: bytes, expected: bytes) -> None:
    assert inject(page) == expected.replace(b"%s", SNIPPET)


PIECES = st.sampled_from(
    [
        b"<",
        b"/",
        b"body",
        b"BODY",
        b">",
        b"</body>",
        b"</BoDy >",
        b"<body>",
        b"<html>",
        b"</html>",
        b" ",
        b"text",
        b"</bod",
        b"<b",
    ]
)


@given(st.lists(PIECES, max_size=30).map(b"".join), st.lists(st.integers(0, 120), max_size=12))
@example(b"<html></body>", [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12])
def test_chunk_boundaries_do_not_matter(page: bytes, cuts: list[int]) -> None:
    edges = [0, *sorted(min(cut, len(page)) for cut in cuts), len(page)]
    chunks = [page[a:b] for a, b in pairwise(edges)]
    assert inject(*chunks) == inject(page)


def test_cut_at_every_byte() -> None:
    page = b"<html><body>x</body></html>"
    assert inject(*(page[n : n + 1] for n in range(len(page)))) == inject(page)


def test_what_cannot_be_a_tag_is_given_back_at_once() -> None:
    injector = Injector(SNIPPET)
    assert injector.feed(b"<html>" + b"x" * 5000, last=False) == [b"<html>" + b"x" * 5000]
    assert injector.feed(b"y</bo", last=False) == [b"y"]
    assert injector.feed(b"ld> z", last=False) == [b"</bold> z"]


def test_a_candidate_with_too_much_behind_it_is_let_go() -> None:
    injector = Injector(SNIPPET)
    injector.feed(b'<html><script>"</body>"', last=False)
    out = b""
    for _ in range(2 * HOLD // 1024):
        out += b"".join(injector.feed(b"x" * 1024, last=False))
        assert len(injector.held) <= HOLD
    assert b"</body>" in out
    assert b"".join(injector.feed(b"</body>", last=True)).endswith(SNIPPET + b"</body>")


def test_a_long_stream_is_held_back_by_no_more_than_the_bound() -> None:
    injector = Injector(SNIPPET)
    for _ in range(1000):
        injector.feed(b"<p>" + b"x" * 1000, last=False)
        assert len(injector.held) <= 16
