"""Nothing of one person reaches another: hypothesis plays stories of many browsers.

In the suite each machine plays a few stories. For more of them::

    make model STORIES=5000
"""

from __future__ import annotations

import logging
import sys
import time
from typing import Any, ClassVar

import pytest
from delivery.identity_world import PEOPLE, Step, World
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

pytestmark = pytest.mark.slow

DELAYS = st.sampled_from([0, 0.01, 0.05, 0.3, 1, 4, 12])
BROWSERS = st.integers(0, 2)
PERSON = st.sampled_from(PEOPLE)
ACTS = st.sampled_from(["page", "event", "event+wait", "hit", "hit+wait", "update", "say"])
FAULTS = st.lists(st.sampled_from(["ok", "500", "drop", "refuse", "hang"]), min_size=1, max_size=4)


class Stories(RuleBasedStateMachine):
    """People at three browsers of an application with ``identify=``, on two workers."""

    world: ClassVar[dict[str, Any]] = {"workers": 2}
    steps_seen = 0

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[Step] = []

    @rule(delay=DELAYS, browser=BROWSERS, kind=ACTS)
    def act(self, delay: float, browser: int, kind: str) -> None:
        self.steps.append((delay, kind, browser, None))

    @rule(delay=DELAYS, browser=BROWSERS, person=PERSON)
    def login(self, delay: float, browser: int, person: str) -> None:
        self.steps.append((delay, "login", browser, person))

    @rule(delay=DELAYS, browser=BROWSERS, how=st.sampled_from(["", "explicit"]))
    def logout(self, delay: float, browser: int, how: str) -> None:
        self.steps.append((delay, "logout", browser, how))

    @rule(delay=DELAYS, browser=BROWSERS, other=BROWSERS)
    def plant_flash(self, delay: float, browser: int, other: int) -> None:
        self.steps.append((delay, "plant", browser, other))

    @rule(delay=DELAYS, seconds=st.sampled_from([0.01, 0.1, 0.4, 1, 3, 8]))
    def slow(self, delay: float, seconds: float) -> None:
        self.steps.append((delay, "latency", 0, seconds))

    @rule(delay=DELAYS, kinds=FAULTS)
    def fail(self, delay: float, kinds: list[str]) -> None:
        self.steps.append((delay, "faults", 0, list(kinds)))

    def teardown(self) -> None:
        Stories.steps_seen += len(self.steps)
        if self.steps:
            problems = World(seed=0, **self.world).play(self.steps)
            assert not problems, "\n".join(problems)


class ByHand(Stories):
    """The handlers identify and reset."""

    world: ClassVar[dict[str, Any]] = {"workers": 2, "hook": False}


class Rotating(Stories):
    """A login makes a new visitor as well."""

    world: ClassVar[dict[str, Any]] = {"workers": 1, "settings": {"rotate_on_login": True}}


class Creating(Stories):
    """The first hit of an anonymous visitor creates the user."""

    world: ClassVar[dict[str, Any]] = {"workers": 1, "settings": {"anonymous": "create"}}


class Desk(Stories):
    """One more browser acts for several people in one request."""

    world: ClassVar[dict[str, Any]] = {"workers": 1, "hook": False, "browsers": 4, "known": True}

    @rule(
        delay=DELAYS,
        people=st.lists(PERSON, min_size=1, max_size=3),
        kind=st.sampled_from(["desk", "desk+wait"]),
    )
    def serve(self, delay: float, people: list[str], kind: str) -> None:
        self.steps.append((delay, kind, 3, "".join(people)))


class Forms(Stories):
    """Anybody types anybody's address into a form, and User.com identifies by it."""

    world: ClassVar[dict[str, Any]] = {
        "workers": 1,
        "shared_key": True,
        "switches": {"unified_identification": True, "authorize_by_email": True},
    }

    @rule(
        delay=DELAYS, browser=BROWSERS, person=PERSON, kind=st.sampled_from(["form", "form+wait"])
    )
    def subscribe(self, delay: float, browser: int, person: str, kind: str) -> None:
        self.steps.append((delay, kind, browser, f"{person}@example.com"))


class MergingForms(Forms):
    """The same where User.com merges profiles."""

    world: ClassVar[dict[str, Any]] = {
        "workers": 1,
        "shared_key": True,
        "switches": {"unified_identification": True},
    }


MACHINES = [Stories, ByHand, Rotating, Creating, Desk, Forms, MergingForms]


def play(machine: type[Stories], stories: int, *, is_fixed: bool = False) -> None:
    """Play stories; fixed ones are the same each time, and are not shortened when they fail."""
    how = settings(
        max_examples=stories,
        stateful_step_count=20,
        derandomize=is_fixed,
        phases=[Phase.generate] if is_fixed else list(Phase),
        deadline=None,
        suppress_health_check=list(HealthCheck),
        print_blob=False,
        database=None,
    )
    run_state_machine_as_test(machine, settings=how)


@pytest.mark.parametrize("machine", MACHINES)
def test_key_ring_in_random_browser_stories_keeps_people_separate(machine: type[Stories]) -> None:
    play(machine, 15, is_fixed=True)


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    many = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    failed = False
    for each in MACHINES:
        begun = time.perf_counter()
        try:
            play(each, many)
            print(
                f"{each.__name__}: {many} stories, {time.perf_counter() - begun:.0f} s: nothing reached another person"
            )
        except AssertionError as error:
            failed = True
            print(f"{each.__name__}: {error}", *getattr(error, "__notes__", []), sep="\n")
    print(f"{Stories.steps_seen} steps in all")
    sys.exit(failed)
