"""The README's programs run as they stand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

README = (Path(__file__).parent.parent / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.filterwarnings("default")  # TestClient's own
def test_the_test_in_the_readme_passes() -> None:
    [block] = [each for each in BLOCKS if "def test_" in each]
    namespace: dict[str, object] = {}
    exec(block, namespace)
    test = namespace["test_a_purchase_arrives"]
    assert callable(test)
    test()


def test_the_first_program_is_a_program() -> None:
    namespace: dict[str, object] = {}
    exec(BLOCKS[0], namespace)
    assert type(namespace["app"]).__name__ == "Starlette"


def test_the_hook_s_program_is_one() -> None:
    namespace: dict[str, object] = {}
    [block] = [each for each in BLOCKS if "def who(" in each]
    exec(block, namespace)
    assert type(namespace["app"]).__name__ == "Starlette"


def test_every_setting_is_named() -> None:
    from dataclasses import fields

    from usercom_asgi import UserComConfig

    for each in fields(UserComConfig):
        assert not each.init or f"`{each.name}`" in README, each.name


def test_there_is_nothing_left_to_fill_in() -> None:
    assert "@@" not in README
    assert "TODO" not in README
