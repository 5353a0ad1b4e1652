from __future__ import annotations

import pytest

from usercom_asgi import Event, InvalidCommand, ProductEvent, ResetAuth, Update
from usercom_asgi.core.exceptions import InvalidCommand as _Invalid
from usercom_asgi.core.text import printable, shown_name, shown_path

#: Begins a line in a log, begins one, commands a terminal, turns text around, is invisible.
ODD = "\x85\u2028\x9b\u202e\u200b"


def test_printable_escapes_what_moves_a_terminal_or_begins_a_line() -> None:
    assert printable("żółw, 日本") == "żółw, 日本"
    assert printable(f"a{ODD}\n\x1b\U000e0001") == (r"a\x85\u2028\x9b\u202e\u200b\n\x1b\U000e0001")


@pytest.mark.parametrize("odd", ODD)
def test_repr_of_commands_escapes_names_and_texts(odd: str) -> None:
    name = f"a{odd}WARNING forged"
    made = [
        Event(name, {name: 1}),
        ProductEvent(name, "purchase", name, attributes={name: 1}),
        Update({name: 1}),
        ResetAuth({name: 1}),
    ]
    assert [each for each in made if not repr(each).isprintable()] == []


@pytest.mark.parametrize("odd", ODD)
def test_invalid_command_escapes_names_in_its_text(odd: str) -> None:
    with pytest.raises(InvalidCommand) as raised:
        Event("form", {f"a{odd}b": object()})
    assert str(raised.value).isprintable()
    assert raised.value.field == f"data.a{odd}b"
    assert str(_Invalid(f"a{odd}", "must be short")).isprintable()


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("shoe size", "shoe size"),
        ("data.items[3]", "data.items[3]"),
        ("preferred_communication_channel", "preferred_communication_channel"),
        ("ann@example.com", "..."),
        ("data.+48123456789", "..."),
        ("k3Y" * 8, "..."),
    ],
)
def test_shown_name_hides_what_looks_like_data(name: str, shown: str) -> None:
    assert shown_name(name) == shown
    assert repr(Event("form", {name: 1})) == f"Event('form', data={{{shown}}})"


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        *(("/", "/"), ("", "/"), ("/buy", "/buy"), ("/shop/", "/shop/")),
        ("/reset/ann@example.com/token", "/reset/..."),
        ("/ann@example.com", "/..."),
        ("/42/cart", "/.../..."),
        ("//evil", "//..."),
        ("/a\n\u2028", "/..."),
    ],
)
def test_shown_path_has_the_first_part_if_that_is_a_word(path: str, shown: str) -> None:
    assert shown_path(path) == shown
