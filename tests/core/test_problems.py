from __future__ import annotations

import logging

import pytest

from usercom_asgi.core.exceptions import InvalidValue
from usercom_asgi.core.problems import did_you_mean, report


def test_report_of_many_problems_is_one_short_line(caplog: pytest.LogCaptureFixture) -> None:
    for length in (300, 301):
        problems = [
            InvalidValue(
                f"data.{n}", f"must have at most 255 characters, got {length}", "truncated"
            )
            for n in range(100)
        ]
        report("Event", problems, strict=False)
    [line] = caplog.messages
    assert line == (
        "Event: data.0 is truncated, because it must have at most 255 characters; "
        "data.1 is truncated, because it must have at most 255 characters; "
        "data.2 is truncated, because it must have at most 255 characters; and 97 more (logged once)"
    )


def test_report_of_a_name_with_control_characters_is_ascii(
    caplog: pytest.LogCaptureFixture,
) -> None:
    report("Event", [InvalidValue("data.a\x9b2J\u202eb", "must be a number")], strict=False)
    assert caplog.messages[0].isascii()
    assert caplog.records[0].levelno == logging.WARNING


@pytest.mark.parametrize(
    ("given", "hint"),
    [("purchas", "; did you mean 'purchase'?"), ("colour", ""), (7, ""), (None, "")],
)
def test_did_you_mean_names_a_similar_value_only(given: object, hint: str) -> None:
    assert did_you_mean(given, ["purchase", "view"]) == hint
