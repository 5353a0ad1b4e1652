"""Rows of the outbox's file."""

from __future__ import annotations

from usercom_asgi.api.client import Response
from usercom_asgi.delivery.sqlite.admin import Row
from usercom_asgi.delivery.sqlite.database import (
    LoadedRow,
    WriteBatch,
    WriteResult,
)


def test_repr_of_rows_and_responses_holds_no_key() -> None:
    key = "abcdef123456"
    letter = f'{{"user": {{"key": "{key}"}}}}'
    put = (key, 1.0, letter)
    dead_letter = (key, 1.0, letter, 404, "refused", letter)
    loaded = LoadedRow(1, key, key, letter)
    made = [
        Response(200, body=letter.encode()),
        loaded,
        Row(1, key, 1.0, letter),
        *(
            WriteBatch(puts=[put], dead_letters=[dead_letter], keys=[(key, key)]),
            WriteResult(loaded=[loaded]),
        ),
    ]
    assert not [each for each in made if key in repr(each)]
