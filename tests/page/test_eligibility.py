from __future__ import annotations

import pytest
from helpers.apps import make_app
from helpers.asgi_client import answers, body, call, html, http_scope, start

from usercom_asgi.page.eligibility import may_be_html, skip_reason
from usercom_asgi.page.headers import by_name

HTML = "text/html; charset=utf-8"


def reason(
    headers: dict[str, str] | None = None,
    *,
    status: int = 200,
    method: str = "GET",
    request: dict[str, str] | None = None,
) -> str | None:
    message = start({"content-type": HTML, **(headers or {})}, status)
    return skip_reason(
        method,
        dict(http_scope(headers=request or {})["headers"]),
        status,
        by_name(message["headers"]),
    )


@pytest.mark.parametrize(
    "content_type",
    [
        HTML,
        "text/html",
        "TEXT/HTML ; charset=x",
        "text/html;charset=ISO-8859-1",
        'text/html; charset="shift_jis"',
        "text/html;",
    ],
)
def test_skip_reason_for_an_html_response_is_absent(content_type: str) -> None:
    assert reason({"content-type": content_type}) is None
    assert reason({"Content-Encoding": "identity"}) is None
    assert reason({"content-encoding": ""}) is None
    assert reason(status=404) is None
    assert reason(method="HEAD") is None
    assert reason(method="POST") is None
    assert reason(request={"hx-request": "true", "hx-boosted": "true"}) is None


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ({"status": 206}, "206"),
        ({"status": 204}, "204"),
        ({"status": 205}, "205"),
        ({"status": 304}, "304"),
        ({"status": 103}, "103"),
        ({"status": 302}, "302"),
        ({"method": "OPTIONS"}, "OPTIONS"),
        ({"method": "CONNECT"}, "CONNECT"),
        ({"headers": {"content-type": "application/json"}}, "application/json"),
        ({"headers": {"content-type": "text/html-ish"}}, "text/html-ish"),
        ({"headers": {"content-type": "application/xhtml+xml"}}, "xhtml"),
        ({"headers": {"content-type": "text/html; charset=UTF-16LE"}}, "utf-16"),
        ({"headers": {"content-type": "text/html; charset=iso-2022-jp"}}, "iso-2022"),
        ({"headers": {"content-type": "text/html; x=y; Charset='utf-7'"}}, "utf-7"),
        ({"headers": {"Content-Disposition": "Attachment; filename=x.html"}}, "download"),
        ({"headers": {"cache-control": "max-age=1, No-Transform"}}, "no-transform"),
        ({"request": {"hx-request": "true"}}, "fragment"),
    ],
)
def test_skip_reason_for_an_ineligible_response_names_the_cause(
    case: dict[str, object], expected: str
) -> None:
    why = reason(**case)  # type: ignore[arg-type]
    assert why is not None
    assert expected in why


def test_skip_reason_of_two_content_type_headers_uses_the_last() -> None:
    html, plain = (b"Content-Type", b"text/html"), (b"content-type", b"text/plain")
    assert skip_reason("GET", {}, 200, by_name([plain, html])) is None
    assert may_be_html([plain, html])
    assert "text/plain" in (skip_reason("GET", {}, 200, by_name([html, plain])) or "")


def test_skip_reason_without_content_type_or_with_two_lengths_names_the_header() -> None:
    assert "content-type" in (skip_reason("GET", {}, 200, {}) or "")
    twice = [(b"content-type", b"text/html"), (b"content-length", b"1"), (b"Content-Length", b"2")]
    assert "content-length" in (skip_reason("GET", {}, 200, by_name(twice)) or "")


PAGE = b"<html><body>hello</body></html>"


@pytest.mark.parametrize(
    ("content_types", "is_page"),
    [
        (["text/html;charset=utf-16le, text/html"], False),
        (["text/html;charset=utf-16", "text/html"], False),
        (['text/plain; x=",text/html;"'], False),
        (["text/plain", "text/html"], True),
        (["text/html; charset=utf-8, text/html"], True),
    ],
)
async def test_skip_reason_of_several_content_types_uses_the_last_type_and_any_charset(
    content_types: list[str], *, is_page: bool
) -> None:
    headers = [(b"content-type", each.encode()) for each in content_types]
    got = await call(make_app(answers(start(headers), body(PAGE))))
    assert (b"widget.js" in got.body) is is_page


@pytest.mark.parametrize(
    "label",
    ["csISO2022JP", "csUnicode", "unicode", "iso-10646-ucs-2", "unicodeFFFE", "unicodefeff"],
)
async def test_skip_reason_charset_that_is_no_superset_of_ascii_passes_unchanged(
    label: str,
) -> None:
    got = await call(make_app(html(PAGE, headers={"content-type": f"text/html; charset={label}"})))
    assert got.body == PAGE
