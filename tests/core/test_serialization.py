"""Serialization of envelopes: an envelope that is loaded again equals the dumped one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usercom_asgi import Event, EventType, OutboxError, PageHit, ProductEvent, ResetAuth, Update
from usercom_asgi.core.commands import Command
from usercom_asgi.core.envelope import Envelope, PageContext
from usercom_asgi.core.serialization import from_text, pack, to_text, unpack

texts = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=40)
names = st.from_regex(r"plan_[a-z]{1,8}", fullmatch=True)
values = st.one_of(
    texts,
    st.integers(-(2**31), 2**31),
    st.booleans(),
    st.floats(allow_nan=False, allow_infinity=False),
)
mappings = st.dictionaries(names, values, max_size=4)
events = st.builds(Event, texts.map(lambda text: "n" + text.replace(".", "_")), mappings)
commands: st.SearchStrategy[Command] = st.one_of(
    events,
    st.builds(
        ProductEvent,
        texts,
        st.sampled_from(EventType),
        st.none() | texts,
        attributes=mappings,
        custom_data=mappings,
    ),
    st.builds(
        PageHit, st.none() | st.just("https://a.example.com/x"), st.none() | events, mappings
    ),
    st.builds(Update, mappings),
    st.builds(ResetAuth, mappings),
)
envelopes = st.builds(
    Envelope,
    command=commands,
    ordering_key=texts,
    key=st.none() | st.just("abc123DEF456"),
    identity=mappings,
    page=st.builds(PageContext, url=texts, domain=texts, referrer=texts, user_agent=texts),
    may_create=st.booleans(),
    created_at=st.floats(0, 2e9),
)


@pytest.mark.slow
@given(envelopes)
def test_from_text_returns_what_to_text_was_given(envelope: Envelope) -> None:
    back = from_text(to_text(envelope))
    assert pack(back) == pack(envelope)
    assert back.command == envelope.command
    assert "\n" not in to_text(envelope)


GOOD = pack(Envelope(command=Event("e", {"n": 1}), ordering_key="a", key="k"))


@pytest.mark.parametrize(
    "bad",
    [
        {},
        {**GOOD, "v": 2},
        {**GOOD, "command": {"kind": "strange"}},
        {**GOOD, "command": {"kind": "event", "name": ""}},
        {**GOOD, "command": {"kind": "update", "attributes": 3}},
        {**GOOD, "command": None},
        {**GOOD, "page": {"nose": 1}},
        {**GOOD, "created_at": "yesterday"},
        {**GOOD, "created_at": 10**400},
        {**GOOD, "created_at": float("nan")},
        {**GOOD, "created_at": float("inf")},
        {**GOOD, "key": ["k"]},
        [],
    ],
)
def test_from_text_with_another_object_is_refused(bad: Any) -> None:
    with pytest.raises(OutboxError):
        unpack(bad)
    with pytest.raises(OutboxError):
        from_text(json.dumps(bad))


@pytest.mark.parametrize(
    "text", ["{", "[" * 100_000, '{"v":' * 100_000, "\xff", '{"v":1' + "0" * 5000 + "}"]
)
def test_from_text_without_json_is_refused(text: str) -> None:
    with pytest.raises(OutboxError):
        from_text(text)


@pytest.mark.parametrize("name", ["purchase", "event.purchase", "event", "event.event"])
def test_to_text_keeps_the_name_of_an_event(name: str) -> None:
    envelope = Envelope(command=PageHit(event=Event(name)), ordering_key="a", key="k")
    assert from_text(to_text(envelope)).command == envelope.command
