"""The example of each framework, served by uvicorn and checked as `make matrix` does."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from servers.processes import server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from helpers.fake_usercom import FakeUserCom

pytest.importorskip("uvicorn", reason="needs the extra sandbox")
pytest.importorskip("websockets")

from matrix.checks import CHECKS, Served
from matrix.subjects import FRAMEWORKS, Subject

ROOT = Path(__file__).parents[2]
#: These are in the group of the tests; the others are for `make matrix` and `make nightly`.
IN_EVERY_RUN = ("FastAPI", "Litestar", "Django")


def parameters() -> Iterator[object]:
    for subject in FRAMEWORKS:
        marks = [] if subject.name in IN_EVERY_RUN else [pytest.mark.nightly]
        yield pytest.param(subject, id=subject.name, marks=marks)


@pytest.mark.parametrize("subject", list(parameters()))
def test_example_of_framework_passes_every_check_of_the_matrix(
    subject: Subject, usercom: FakeUserCom, tmp_path: Path
) -> None:
    module = {"FastHTML": "fasthtml", "NiceGUI": "nicegui"}.get(subject.name, subject.name.lower())
    pytest.importorskip(module, reason=f"{subject.name} is installed by `make matrix`")
    log = tmp_path / "server.log"
    with ExitStack() as stack:
        process, url = stack.enter_context(server(subject.command, usercom, ROOT, log))
        served = Served(url, usercom, process, asks_json=subject.asks_json)
        for name, check in CHECKS.items():
            if name not in subject.left_out:
                check(served)
    lines = log.read_text().splitlines()
    ours = [each for each in lines if "usercom" in each and "Traceback" not in each]
    assert [each for each in ours if "failed" in each] == []


@pytest.mark.parametrize(
    "path", sorted((ROOT / "examples" / "frameworks").glob("*_app.py")), ids=lambda path: path.stem
)
def test_guide_of_framework_holds_its_example(path: Path) -> None:
    guide = ROOT / "docs" / "frameworks" / f"{path.stem.removesuffix('_app')}.md"
    assert f"```python\n{path.read_text()}```\n" in guide.read_text()
