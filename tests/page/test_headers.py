from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usercom_asgi.page.headers import (
    by_name,
    header_layout,
    header_list,
    make_private,
    relevant_headers,
    set_private,
    update_entity_headers,
    vary_on_cookie,
)

TOUCHED = {
    b"etag", b"last-modified", b"content-md5", b"digest", b"content-digest", b"repr-digest", b"signature",
    b"signature-input", b"accept-ranges", b"cache-control", b"vary", b"content-length",
}  # fmt: skip
NAMES = st.sampled_from(
    [b"Set-Cookie", b"set-cookie", b"X-Frame-Options", b"link", b"ETag", b"etag", b"Vary", b"Cache-Control", b"Digest",
     b"Accept-Ranges", b"Last-Modified", b"Content-Length", b"server-timing", b"referrer-policy"]
)  # fmt: skip
HEADERS = st.lists(
    st.tuples(
        NAMES,
        st.sampled_from([b"1", b'"abc"', b"public, max-age=60", b"Accept", b"private", b"a=b"]),
    ),
    max_size=12,
)


@given(HEADERS)
def test_header_changes_keep_all_other_headers_in_order(headers: list[tuple[bytes, bytes]]) -> None:
    def others(given: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        return [(name, value) for name, value in given if name.lower() not in TOUCHED]

    before = list(headers)
    for changed in (
        update_entity_headers(headers, 7),
        update_entity_headers(headers, None),
        make_private(headers),
        set_private(headers),
    ):
        assert others(changed) == others(headers)
    assert headers == before


@given(HEADERS)
def test_make_private_sets_private_and_vary_without_validators(
    headers: list[tuple[bytes, bytes]],
) -> None:
    changed = make_private(update_entity_headers(headers, 1))
    directives = b",".join(value for name, value in changed if name.lower() == b"cache-control")
    assert b"private" in directives or b"no-store" in directives
    assert b"public" not in directives
    assert any(name.lower() == b"vary" and b"cookie" in value.lower() for name, value in changed)
    assert not [
        name
        for name, _ in changed
        if name.lower() in (b"etag", b"last-modified", b"digest", b"accept-ranges")
    ]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], b"private"),
        ([b"public, max-age=60"], b"private, max-age=60"),
        ([b"max-age=60", b"s-maxage=600"], b"private, max-age=60"),
        ([b"no-cache"], b"private, no-cache"),
        ([b"no-store"], b"no-store"),
        ([b"public, max-age=60", b"private"], b"max-age=60, private"),
        ([b'private="x"'], b'private, private="x"'),
        ([b"Private"], b"Private"),
    ],
)
def test_set_private_makes_cache_control_private_unless_no_store(
    given: list[bytes], expected: bytes
) -> None:
    changed = set_private([(b"Cache-Control", value) for value in given])
    assert [value for name, value in changed if name.lower() == b"cache-control"] == [expected]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], [b"Cookie"]),
        ([b"Accept"], [b"Accept", b"Cookie"]),
        ([b"accept, COOKIE"], [b"accept, COOKIE"]),
        ([b"*"], [b"*"]),
    ],
)
def test_vary_on_cookie_adds_cookie_unless_already_covered(
    given: list[bytes], expected: list[bytes]
) -> None:
    assert [value for _, value in vary_on_cookie([(b"vary", value) for value in given])] == expected


def test_update_entity_headers_makes_a_strong_etag_weak() -> None:
    assert update_entity_headers([(b"ETag", b'"abc"'), (b"etag", b'W/"d"')], None) == [
        (b"ETag", b'W/"abc"'),
        (b"etag", b'W/"d"'),
    ]


@pytest.mark.parametrize(
    ("given", "length", "expected"),
    [(b"12", 17, [b"17"]), (b"12", None, []), (b"x", 5, [b"5"]), (b"-1", 5, [b"5"])],
)
def test_update_entity_headers_replaces_or_drops_content_length(
    given: bytes, length: int | None, expected: list[bytes]
) -> None:
    assert [
        value for _, value in update_entity_headers([(b"Content-Length", given)], length)
    ] == expected


@pytest.mark.slow
@given(headers=HEADERS, kind=st.sampled_from([b"text/html", b"text/plain"]), capital=st.booleans())
def test_header_layout_of_any_headers_agrees_with_the_headers_by_name(
    headers: list[tuple[bytes, bytes]], kind: bytes, *, capital: bool
) -> None:
    headers = [*headers, (b"Content-Type" if capital else b"content-type", kind)]
    layout = header_layout(headers)
    assert headers[layout.content_type][1] == kind
    lengths = [n for n, (name, _) in enumerate(headers) if name.lower() == b"content-length"]
    assert layout.content_length == (lengths[0] if len(lengths) == 1 else -1)
    found, given = relevant_headers(headers, layout), by_name(headers)
    decide = (
        b"content-type",
        b"content-encoding",
        b"content-disposition",
        b"cache-control",
        b"content-security-policy",
    )
    assert [found.get(name) for name in decide] == [given.get(name) for name in decide]
    if layout.is_plain:  # then all that a change makes untrue is the length
        assert update_entity_headers(headers, None) == [
            pair for pair in headers if pair[0].lower() != b"content-length"
        ]
        changed = [
            (name, b"7" if name.lower() == b"content-length" else value) for name, value in headers
        ]
        assert (
            update_entity_headers(headers, 7, layout)
            == update_entity_headers(headers, 7)
            == changed
        )


@pytest.mark.parametrize(
    "name", sorted(TOUCHED - {b"vary", b"last-modified", b"content-length"} | {b"Content-Encoding"})
)
def test_header_layout_with_a_header_that_a_change_invalidates_is_not_plain(name: bytes) -> None:
    assert header_layout([(b"content-type", b"text/html"), (b"vary", b"x")]).is_plain
    assert not header_layout([(b"content-type", b"text/html"), (name, b"1")]).is_plain
    assert not header_layout([(name, b"1")]).is_plain
    assert not header_layout(
        [(b"content-type", b"text/html"), (b"content-length", b"1"), (b"Content-Length", b"1")]
    ).is_plain


def test_header_list_accepts_absent_tuple_list_and_generator_headers() -> None:
    pair = (b"A", b"b")
    for each in (None, (pair,), [list(pair)], (one for one in [pair])):
        message = {"type": "http.response.start"} | ({} if each is None else {"headers": each})
        assert header_list(message) == ([] if each is None else [pair])
