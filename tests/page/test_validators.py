"""ETags that change with the snippet, and the conditions of requests that repeat them."""

from __future__ import annotations

import pytest

from usercom_asgi.page.validators import mark_validators, snippet_mark, translate_conditions

MARK = b"0123456789ab"
DATE = (b"last-modified", b"Thu, 26 Nov 2026 10:00:00 GMT")
SINCE = (b"if-modified-since", DATE[1])
BROWSER = (b"accept", b"text/html,application/xhtml+xml")


def etag_of(*headers: tuple[bytes, bytes]) -> bytes:
    return dict(mark_validators(list(headers), MARK))[b"etag"]


@pytest.mark.parametrize("given", [b'"v1"', b'W/"v1"', b'"a,b"', b'""', b'"v1-gzip"'])
def test_translate_conditions_etag_of_the_same_snippet_is_that_of_the_application(
    given: bytes,
) -> None:
    asked = [BROWSER, (b"if-none-match", etag_of((b"etag", given))), SINCE]
    assert translate_conditions(asked, MARK) == [BROWSER, SINCE, (b"if-none-match", given)]


@pytest.mark.parametrize("mark", [b"b" * 12, None])
def test_translate_conditions_etag_of_another_snippet_is_removed_with_the_date(
    mark: bytes | None,
) -> None:
    for name in (b"if-none-match", b"If-None-Match"):
        asked = [(name, etag_of((b"etag", b'"v1"'))), SINCE]
        assert translate_conditions(asked, mark) == []


def test_translate_conditions_page_with_a_date_alone_keeps_it_while_the_snippet_is_the_same() -> (
    None
):
    asked = [BROWSER, (b"if-none-match", etag_of(DATE)), SINCE]
    assert translate_conditions(asked, MARK) == [BROWSER, SINCE]
    assert translate_conditions(asked, b"b" * 12) == [BROWSER]


@pytest.mark.parametrize(
    "asked", [[(b"if-none-match", b'"v1"'), SINCE], [SINCE], [(b"if-none-match", b"*")]]
)
def test_translate_conditions_page_without_a_snippet_is_asked_for_again(
    asked: list[tuple[bytes, bytes]],
) -> None:
    """It was made before the middleware was installed, or the visitor had not consented."""
    assert translate_conditions([BROWSER, *asked], MARK) == [BROWSER]
    picture = (b"accept", b"image/avif,image/*;q=0.8")
    assert sorted(translate_conditions([picture, *asked], MARK)) == sorted([picture, *asked])


@pytest.mark.parametrize("path", ["/report.pdf", "/feed.xml", "/a/picture.jpg"])
def test_translate_conditions_other_files_in_a_tab_keep_theirs(path: str) -> None:
    asked = [BROWSER, (b"if-none-match", b'"v1"'), SINCE]
    assert sorted(translate_conditions(asked, MARK, path)) == sorted(asked)
    for page in ("/", "/index.html", "/v1.2/", "/about"):
        assert translate_conditions(asked, MARK, page) == [BROWSER]


def test_translate_conditions_invalid_etag_of_another_file_stays() -> None:
    asked = [(b"if-none-match", b"v1")]
    assert translate_conditions(asked, MARK) == asked


def test_translate_conditions_several_etags_keeps_the_known_ones() -> None:
    tags = b", ".join((etag_of((b"etag", b'"a,1"')), b'"b"', b'W/"c.ucs000000000000"'))
    assert translate_conditions([(b"if-none-match", tags)], MARK) == [
        (b"if-none-match", b'"a,1", "b"')
    ]


def test_mark_validators_headers_without_any_stay() -> None:
    headers = [(b"content-type", b"text/html")]
    assert mark_validators(headers, MARK) is headers


def test_mark_validators_invalid_etag_is_removed() -> None:
    assert mark_validators([(b"ETag", b"v1"), DATE], MARK) == []


def test_snippet_mark_differs_by_snippet_and_place() -> None:
    marks = {
        snippet_mark(snippet, in_head=in_head) for snippet in (b"a", b"b") for in_head in (0, 1)
    }
    assert len(marks) == 4
