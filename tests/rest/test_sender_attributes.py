"""Guards ``rest/sender_attributes.py``."""

from __future__ import annotations

from typing import Any

import pytest

from usercom_asgi.rest.sender_attributes import split_attributes


@pytest.mark.parametrize(
    ("given", "standard", "custom"),
    [
        ({}, {}, {}),
        ({"email": "a@b.example", "plan": "pro"}, {"email": "a@b.example"}, {"plan": "pro"}),
        ({"name": "Ada Nowak"}, {"first_name": "Ada", "last_name": "Nowak"}, {}),
        ({"name": "Ada"}, {"first_name": "Ada"}, {}),
        ({"name": "Ada X", "last_name": "Nowak"}, {"last_name": "Nowak"}, {}),
        ({"Email": "a@b.example"}, {}, {"Email": "a@b.example"}),
        # Identifiers name the user, and never change one.
        ({"user_id": "52", "custom_id": "53", "user_key": "abc", "company_id": 7}, {}, {}),
        ({"source_context": {"utm_source": "x"}}, {}, {}),
    ],
)
def test_split_attributes_by_the_call_that_sets_them(
    given: dict[str, Any], standard: dict[str, Any], custom: dict[str, Any]
) -> None:
    split = split_attributes(given)
    assert (split.standard, split.custom, split.company) == (standard, custom, None)
    assert bool(split) is bool(standard or custom)


def test_split_attributes_company_is_named_by_its_id() -> None:
    company = split_attributes(
        {"company": {"company_id": 7, "name": "Acme", "custom_id": "other", "plan": "gold"}}
    ).company
    assert company is not None
    assert company.custom_id == "7"
    assert (company.standard, company.custom) == ({"name": "Acme"}, {"plan": "gold"})


def test_split_attributes_company_without_an_id_is_left_out() -> None:
    assert split_attributes({"company": {"name": "Acme"}}).company is None
