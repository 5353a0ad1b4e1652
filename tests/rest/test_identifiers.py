"""Guards ``rest/identifiers.py``: the types, and one way to put a value into a path."""

from __future__ import annotations

import pickle
from typing import Any
from urllib.parse import unquote
from uuid import UUID

import pytest
from helpers.rest_server import RestServer
from hypothesis import given
from hypothesis import strategies as st

from usercom_asgi import InvalidCommand
from usercom_asgi.rest import CustomId, Email, Id, Key, Phone, UserComRest
from usercom_asgi.rest.identifiers import encode_part, expand, normalize

CUSTOM_IDS = [
    "a/b",
    "..",
    ".",
    "a@b.example",
    "a b",
    "ü",
    "%2F",
    "?x=1#y",
    "+48",
    "a;b",
    "\\",
    "//",
]


@pytest.mark.parametrize("value", CUSTOM_IDS)
async def test_custom_id_arrives_as_one_part_of_the_path(
    rest: UserComRest, server: RestServer, value: str
) -> None:
    server.answer({"id": 1})
    await rest.users.get(CustomId(value))
    part = server.last.path.removeprefix("/api/public/users-by-id/")
    assert part.count("/") == 1
    assert unquote(part[:-1]) == value
    assert server.last.query == ""


@given(st.text(min_size=1))
def test_encode_part_is_one_part_that_decodes_to_the_value(value: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError:
        with pytest.raises(InvalidCommand):
            encode_part("custom_id", value)
        return
    encoded = encode_part("custom_id", value)
    assert encoded.isascii()
    assert not set(encoded) & set("/?#\\@ ")
    assert encoded not in (".", "..")
    assert unquote(encoded) == value


def test_expand_fills_each_place_and_names_a_missing_one() -> None:
    assert expand("/users/:id/", {"id": 5}) == "/users/5/"
    assert expand("/a/:b/c/:d/", {"b": "x/", "d": 1}) == "/a/x%2F/c/1/"
    with pytest.raises(InvalidCommand, match="custom_id: must be given in parts"):
        expand("/users-by-id/:custom_id/", {})
    with pytest.raises(InvalidCommand, match="must be text"):
        expand("/users-by-id/:custom_id/", {"custom_id": ""})


@pytest.mark.parametrize("each", [CustomId("cust-52"), Key("k3v9"), Email("a@b.c"), Phone("+48")])
def test_repr_hides_what_may_be_personal(each: Any) -> None:
    assert each.value not in repr(each)
    assert each.value not in f"{each}"
    assert pickle.loads(pickle.dumps(each)) == each


def test_identifiers_of_two_types_differ() -> None:
    one: object = Key("abc")
    assert one != CustomId("abc")
    assert CustomId(43) == CustomId("43")
    assert CustomId(UUID(int=1)).value == str(UUID(int=1))
    assert normalize(43) == Id(43)
    assert normalize(43) != CustomId(43)


@pytest.mark.parametrize("value", ["43", None, True, 4.5, b"x", -1])
def test_normalize_of_something_else_raises(value: object) -> None:
    with pytest.raises(InvalidCommand):
        normalize(value)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Id, "43"),
        (Id, True),
        (Id, -1),
        (CustomId, ""),
        (CustomId, " "),
        (CustomId, "a\nb"),
        (CustomId, "\ud800"),
        (CustomId, "x" * 256),
        (Key, "a b"),
        (Key, ""),
        (Email, "ada"),
        (Email, "@"),
        (Email, None),
        (Phone, " "),
    ],
)
def test_identifier_malformed_raises_without_the_value(kind: Any, value: Any) -> None:
    with pytest.raises(InvalidCommand) as raised:
        kind(value)
    assert "got ada" not in str(raised.value)
    assert "x" * 256 not in str(raised.value)
