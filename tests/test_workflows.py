"""The workflows of `.github`, as far as they can be checked without GitHub."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflow_calls_targets_that_the_makefile_has(path: Path) -> None:
    [phony] = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[:1]
    called = set(re.findall(r"\bmake ([a-z-]+)", path.read_text()))
    assert called <= set(phony.split())


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflow_pins_each_action_to_a_commit_and_names_its_version(path: Path) -> None:
    used = re.findall(r"uses: (.*)$", path.read_text(), re.MULTILINE)
    assert used
    assert [
        each for each in used if not re.fullmatch(r"[\w/.-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", each)
    ] == []


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflow_forces_no_colour(path: Path) -> None:
    """Python 3.13 would colour the tracebacks of programs, whose last lines tests compare."""
    assert "FORCE_COLOR" not in path.read_text()


def test_documentation_is_published_from_where_mkdocs_builds_it() -> None:
    workflow = (ROOT / ".github" / "workflows" / "docs.yml").read_text()
    found = re.search(r"^site_dir: (\S+)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
    assert f"tar --directory {found[1] if found else 'site'} " in workflow
