"""Nicknames of anonymous users: an adjective and a noun, as at User.com [D de/161]."""

from __future__ import annotations

import zlib

_ADJECTIVES = (
    "Amber", "Brave", "Calm", "Clever", "Crimson", "Curious", "Eager", "Gentle", "Golden", "Happy", "Humble", "Jolly",
    "Kind", "Lively", "Lucky", "Mellow", "Merry", "Nimble", "Patient", "Polite", "Proud", "Quiet", "Silver", "Witty",
)  # fmt: skip
_NOUNS = (
    "Badger", "Beaver", "Bison", "Crane", "Dolphin", "Falcon", "Fox", "Gecko", "Hare", "Heron", "Ibis", "Koala",
    "Lynx", "Marten", "Otter", "Owl", "Panda", "Penguin", "Puffin", "Raven", "Robin", "Seal", "Swan", "Wombat",
)  # fmt: skip


def nickname(key: str) -> str:
    """Return the nickname of a user key, which never changes."""
    number = zlib.crc32(key.encode())
    return f"{_ADJECTIVES[number % len(_ADJECTIVES)]} {_NOUNS[number // len(_ADJECTIVES) % len(_NOUNS)]}"
