"""The words of comments and docstrings; see CONTRIBUTING.md, "Voice"."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.voice import WORDS, count, count_rooms, prose, room_names, total, words

#: Most words of a group among 1,000 words of comments and docstrings.
TARGETS = {"say": 0.5, "tell": 0.5, "narrators": 0.3}
EVERY = frozenset[str]().union(*WORDS.values())
SOURCE = '''
"""Say what ``say`` does."""
SAID = "said"
def tell(said):  # noqa: D103
    """Tell nobody's name, nor :meth:`tell`."""
    return said  # somebody said so
'''


def test_count_reads_comments_and_docstrings_and_no_code() -> None:
    found = count(SOURCE)
    assert found.found == {"say": 2, "tell": 1, "narrators": 2}
    assert found.words == 10  # say what does / tell nobody's name nor / somebody said so


def test_per_thousand_is_a_rate_of_the_words() -> None:
    found = count("# We said a word of five")
    assert found.words == 6
    assert found.per_thousand("say") == pytest.approx(1000 / 6)


@pytest.mark.slow
@pytest.mark.parametrize("group", WORDS)
@pytest.mark.parametrize("room", room_names())
def test_room_holds_the_target_of_each_group_of_words(room: str, group: str) -> None:
    # One word in a short module is far more than one in a thousand.
    rooms = count_rooms()
    assert rooms[room].found[group] <= max(1, TARGETS[group] * rooms[room].words / 1000)


@pytest.mark.slow
@pytest.mark.parametrize("group", WORDS)
def test_package_holds_the_target_of_each_group_of_words(group: str) -> None:
    assert total(count_rooms().values()).per_thousand(group) <= TARGETS[group]


@pytest.mark.slow
def test_tests_and_benchmarks_hold_no_counted_word() -> None:
    found = [
        f"{path}:{line}: {word}"
        for folder in ("tests", "bench", "examples")
        for path in sorted((Path(__file__).parents[1] / folder).rglob("*.py"))
        if path.name not in ("voice.py", "test_voice.py")  # these name the words
        for line, text in prose(path.read_text())
        for word in words(text)
        if word in EVERY
    ]
    assert found == []
