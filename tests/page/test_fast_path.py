"""The fast path gives what the tokenizer gives, or nothing."""

from __future__ import annotations

import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from usercom_asgi.page.fast_path import OrdinaryPage, read_ordinary_page
from usercom_asgi.page.injector import inject
from usercom_asgi.page.tokenizer import Tokenizer

from .corpus import CLOSED, PAGES
from .judge import document

HEAD = "<!doctype html><html><head><title>t</title></head><body>"
#: Pieces at which a tokenizer can lose its place.
PIECES = [
    "<p>",
    "</p>",
    "text ",
    " ",
    "\n",
    "a<b",
    "'",
    '"',
    "=",
    ">",
    "<",
    "</",
    "<a href='/x'>",
    '<a href="y">',
    "<a title=' </body> '>",
    '<p t="<!--">',
    "<i a=\">\" b=' '>",
    '<i a= "',
    "'>",
    '">',
    "<!-- x -->",
    "<!-- </body> -->",
    "<!-->",
    "<!--",
    "--!>",
    "<!x",
    "<?x",
    "</ x",
    "</>",
    "<title>",
    "</title>",
    "<TITLE >",
    "<script>",
    "</script>",
    "<script>var a='</body>'",
    "</SCRIPT\n>",
    "<script><!--",
    "<script src='a'>",
    "<script/>",
    "<scripts>",
    "<style>",
    "</style>",
    "<style>p{}</style>",
    "<textarea>",
    "</textarea",
    "<noscript>",
    "</noscript>",
    "<plaintext>",
    "<svg>",
    "</svg>",
    "<math>",
    "<template>",
    "</template>",
    "<select>",
    "</select>",
    "<frameset>",
    "<col>",
    "<html>",
    "<html a='>'>",
    "<head>",
    "</head>",
    "<HEAD>",
    "</HEAD x='>'>",
    "<body>",
    '<BODY a="</body>">',
    "</body>",
    "</BODY>",
    "</Body>",
    "</body",
    "</body x='",
    "</body\t>",
    "</html>",
    "\x1b",
    "\x00",
    "<meta a=b>",
    "<bodyx>",
    "</bodyx>",
]


def read(page: bytes) -> OrdinaryPage | None:
    """Return what the tokenizer finds in a page with a body that nothing makes doubtful."""
    tokenizer = Tokenizer()
    tokenizer.feed(page)
    is_usable = tokenizer.has_body and tokenizer.body_end >= 0 and not tokenizer.has_frames
    return OrdinaryPage(tokenizer.head_end, tokenizer.body_end) if is_usable else None


def assert_agrees(page: bytes) -> bool:
    """Compare the two; return True if the fast path has an answer."""
    found = read_ordinary_page(page)
    assert found is None or found == read(page)
    return found is not None


@pytest.mark.slow
@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from([HEAD, "", "<html><body>", "<html><head>"]),
    st.lists(st.sampled_from(PIECES), max_size=24).map("".join),
    st.sampled_from(["</body></html>", "</body>", "", "</BODY>", "</body x='</body>'>"]),
)
@example(HEAD, "<script><!--<script></script>", "</body>")
@example(HEAD, '<p t= "x</body>', '">')
def test_fast_path_on_any_document_agrees_with_the_tokenizer(
    head: str, middle: str, end: str
) -> None:
    assert_agrees((head + middle + end).encode("latin-1"))


def test_fast_path_on_many_random_documents_agrees_with_the_tokenizer() -> None:
    rng = random.Random(7)
    answers = sum(assert_agrees(document(rng)) for _ in range(200))
    for _ in range(2000):
        middle = "".join(rng.choices(PIECES, k=rng.randrange(12)))
        answers += assert_agrees(f"{HEAD}{middle}</body></html>".encode("latin-1"))
    assert answers > 200  # otherwise nothing was compared


@pytest.mark.parametrize("name", [*PAGES, *CLOSED])
def test_fast_path_on_a_page_of_the_corpus_agrees_with_the_tokenizer(name: str) -> None:
    assert_agrees((PAGES | CLOSED)[name].encode())


@pytest.mark.parametrize(
    "middle",
    [
        b"<p class='a'>x</p>",
        b"<script>let a = 1 < 2;</script><style>p {}</style><!-- x -->",
        b"<script type='x' src=\"/a.js\"></script><p title='don&#39;t'>it's</p>",
    ],
)
@pytest.mark.parametrize("end", [b"</body></html>\n", b"</body>\n</html>", b"</body >"])
def test_fast_path_on_an_ordinary_page_has_an_answer(middle: bytes, end: bytes) -> None:
    page = HEAD.encode() + middle + end
    found = read_ordinary_page(page)
    assert found == OrdinaryPage(page.index(b"</head"), page.index(b"</body"))
    assert found == read(page)
    assert inject(page, b"<s>") == page.replace(b"</body", b"<s></body")
    assert inject(page, b"<s>", in_head=True) == page.replace(b"</head", b"<s></head")
