"""Python values of attributes in `window.civchat`, as the SDK's documentation specifies them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import pytest
from helpers.chromium import chromium
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from playwright.sync_api import Page

from usercom_asgi.core.validation import RESERVED_NAMES, clean_attributes
from usercom_asgi.page.snippet import render


class Plan(Enum):
    GOLD = "gold"


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with chromium() as browser:
        page = browser.new_page()
        page.route("**/widget.js", lambda route: route.abort())
        yield page


def civchat(page: Page, attributes: dict[str, Any]) -> Any:
    """What a browser makes of a page with these attributes, which must not have changed anything else of it."""
    snippet = render(clean_attributes(attributes), "https://acme.user.com/widget.js").decode()
    page.set_content(f"<!doctype html><html><body><p>before</p>{snippet}<p>after</p></body></html>")
    assert (
        page.evaluate("[...document.body.children].map(e => e.tagName).join()")
        == "P,SCRIPT,SCRIPT,P"
    )
    # JavaScript has one kind of number: 5e16 is written as an integer of other digits, and is the same number.
    return json.loads(page.evaluate("JSON.stringify(window.civchat)"), parse_int=float)


def test_attributes_of_every_documented_type_reach_the_widget_as_documented(page: Page) -> None:
    given_values: dict[str, Any] = {
        "user_id": 42, "email": "a@example.com", "phone_number": "+48123456789", "gender": 2, "status": 1, "score": 7,
        "a_date": date(2016, 8, 3), "a_moment": datetime(2016, 8, 3, 12, tzinfo=UTC),
        "elsewhere": datetime(2016, 8, 3, 12, tzinfo=timezone(timedelta(hours=2))),
        "one": "value1", "many": ["value1", "value2"], "plan": Plan.GOLD, "price": Decimal("19.90"), "whole": Decimal(5),
        "uuid": UUID(int=1), "yes": True, "nothing": None, "company": {"name": "Acme", "revenue": 1.5},
    }  # fmt: skip
    assert civchat(page, given_values) == {
        "user_id": "42", "email": "a@example.com", "phone_number": "+48123456789", "gender": 2, "status": 1, "score": 7,
        "a_date": "2016-08-03", "a_moment": "2016-08-03T12:00:00+00:00", "elsewhere": "2016-08-03T12:00:00+02:00",
        "one": "value1", "many": ["value1", "value2"], "plan": "gold", "price": 19.9, "whole": 5,
        "uuid": "00000000-0000-0000-0000-000000000001", "yes": True, "company": {"name": "Acme", "revenue": 1.5},
    }  # fmt: skip


HOSTILE = [
    "</script><script>window.civchat = 1</script>", "<!--<script>", "</body></html>",
    "\u2028", "\u2029", "'", '"', "\\", "&lt;", "]]>",
    "${1}", "`", "\U0001f600", "\x7f", "\ufeff", "-->", "<svg onload=alert(1)>", "javascript:alert(1)", "\r\n", "%3C",
]  # fmt: skip


@pytest.mark.parametrize("hostile", HOSTILE)
def test_attributes_with_hostile_text_do_not_break_out_of_the_script(
    page: Page, hostile: str
) -> None:
    attributes = {"nickname": hostile, "list": [hostile] * 2, "company": {"name": hostile}}
    assert civchat(page, attributes) == attributes


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=40)
NAME = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20).filter(
    lambda name: name not in RESERVED_NAMES
)
NAME = NAME.filter(
    lambda name: (
        name not in ("user_id", "email", "phone_number", "gender", "status", "score", "company")
    )
)
NAME = NAME.filter(
    lambda name: name not in ("source_context", "name", "first_name", "last_name", "city")
)
SCALAR = (
    TEXT
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
)


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.dictionaries(NAME, SCALAR | st.lists(SCALAR, max_size=3), max_size=6))
def test_attributes_of_any_accepted_value_reach_the_widget_unchanged(
    page: Page, attributes: dict[str, Any]
) -> None:
    assert civchat(page, attributes) == attributes
