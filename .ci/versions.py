"""Run the tests at the lowest declared versions, on other Pythons, with each extra alone and with none.

The package is the wheel, built from the sdist, whose tests run. A new ``.venv`` has the newest versions of everything, and ``make test`` runs the whole
suite in it. Here, uv builds each further environment in ``.venv/versions``, two at a
time, and the part of the suite runs that stands on the dependencies: middleware,
delivery, HTTP client, sandbox, and servers that share their state. Chromium, kills,
long outages and random documents run once, in ``make test``. A test that is skipped is
a failure here, unless it needs an extra or a framework that the environment leaves out on
purpose; the table counts those.

``--short`` leaves out the other Pythons, and the environments with one extra alone, so
that CI stays within its 20 minutes. The workflow in ``.github`` runs every Python.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
UV = str(Path(sys.executable).with_name("uv"))
FOLDER = ROOT / ".venv" / "versions"
DIST = FOLDER / "dist"
#: The tests of the sdist, without the package beside them.
TREE = FOLDER / "tree"
EXTRAS = ("sandbox", "taskiq", "otel")
SHOWN = (
    "anyio",
    "starlette",
    "httpx",
    "h11",
    "itsdangerous",
    "trio",
    "uvicorn",
    "taskiq",
    "opentelemetry-api",
    "hypercorn",
)
# Servers and loops that are no dependencies of ours, and of which the oldest matter:
# see `dependency-groups` in pyproject.toml.
OLDEST_TOOLS = ("trio==0.26.1", "hypercorn==0.17.3")
#: What each environment runs.
CORE = (
    "tests/test_imports.py",
    "tests/test_accessors.py",
    "tests/middleware/test_scope.py",
    "tests/test_client.py",
    "tests/test_cli.py",
    "tests/delivery/test_lifespan.py",
    "tests/api/test_client.py",
)
#: What runs besides at the lowest versions.
WIDE = (
    "tests/middleware/test_usercom.py",
    "tests/middleware/test_responder.py",
    "tests/middleware/test_delivery_provider.py",
    "tests/delivery/test_inline.py",
    "tests/visitor/test_login.py",
    "tests/visitor/test_session.py",
    "tests/visitor/test_visitor.py",
    "tests/api/test_widget_api.py",
    "tests/testing/test_capture.py",
    "tests/testing/test_visitor.py",
)
#: What runs besides where an extra is.
OF_EXTRA = {
    "sandbox": ("tests/sandbox/test_sandbox_api.py", "tests/sandbox/rest/test_rest_calls.py"),
    "taskiq": ("tests/integrations/taskiq/test_outbox.py",),
    "otel": ("tests/integrations/test_opentelemetry.py",),
}
# Memory, killed workers, long outages and figures are for the whole suite.
LEFT_OUT = "not 64_mb and not two_workers and not down_for and not killed and not outage_longer and not import_costs"
ALONE = "needs the extra (?P<extra>[a-z]+)"
OF_ALL = "not among the core tests"


@dataclass
class Environment:
    """Versions to test with, and what came of it."""

    name: str
    python: str
    extras: tuple[str, ...]
    is_lowest: bool = False
    versions: str = ""
    outcome: str = ""
    seconds: float = 0.0
    has_passed: bool = False

    @property
    def folder(self) -> Path:
        """Where it is built."""
        return FOLDER / re.sub(r"\W+", "-", self.name)

    @property
    def interpreter(self) -> Path:
        """Its Python."""
        return self.folder / "bin" / "python"

    def check(self) -> None:
        """Build it and run the tests in it."""
        began = time.monotonic()
        log = self.folder.with_suffix(".log")
        with log.open("w") as output:
            try:
                self._build(output)
                tests: list[str | Path] = [
                    self.interpreter,
                    "-m",
                    "pytest",
                    "-q",
                    "-p",
                    "no:cacheprovider",
                    "-k",
                    LEFT_OUT,
                ]
                output.flush()
                code = subprocess.run(
                    [*tests, *self._paths()],
                    cwd=TREE,
                    check=False,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                ).returncode
            except subprocess.CalledProcessError as error:
                self.outcome = f"was not built: {' '.join(map(str, error.cmd[:4]))}"
            else:
                self._judge(code, log.read_text())
        self.seconds = time.monotonic() - began
        print(f"{self.name}: {self.outcome} ({self.seconds:.0f} s)", flush=True)
        if not self.has_passed:
            print(log.read_text()[-6000:], flush=True)

    def _build(self, output: object) -> None:
        project = f"{built_wheel()}[{','.join(self.extras)}]" if self.extras else f"{built_wheel()}"
        run = {"cwd": ROOT, "check": True, "stdout": output, "stderr": subprocess.STDOUT}
        pip = [UV, "pip", "install", "--python", self.interpreter]
        subprocess.run([UV, "venv", "--clear", "--python", self.python, self.folder], **run)  # type: ignore[call-overload]
        bounds: list[str | Path] = []
        if self.is_lowest:
            # Ours at the lowest, and what those ask for, and the tools of the tests at
            # the newest that agrees with it.
            lowest = self.folder / "lowest.txt"
            compile_ = [
                UV,
                "pip",
                "compile",
                "--resolution",
                "lowest-direct",
                "--all-extras",
                "pyproject.toml",
            ]
            subprocess.run([*compile_, "--python", self.interpreter, "-o", lowest, "-q"], **run)  # type: ignore[call-overload]
            lowest.write_text("\n".join([lowest.read_text(), *OLDEST_TOOLS]))
            bounds = ["-c", lowest]
        tools = [
            "--group",
            "core-tests",
            *(["taskiq-redis>=1.2"] if "taskiq" in self.extras else []),
            *(["opentelemetry-sdk"] if "otel" in self.extras else []),
        ]
        subprocess.run([*pip, project, *tools, *bounds], **run)  # type: ignore[call-overload]
        self.versions = versions_in(self.interpreter)

    def _paths(self) -> list[str]:
        wide = WIDE if self.is_lowest else ()
        return [*CORE, *wide, *(path for extra in self.extras for path in OF_EXTRA[extra])]

    def _judge(self, code: int, printed: str) -> None:
        lines = printed.strip().splitlines()
        counts = {kind: int(number) for number, kind in re.findall(r"(\d+) ([a-z]+)", lines[-1])}
        skipped = [line for line in lines if line.startswith("SKIPPED")]
        unexpected = [
            line
            for line in skipped
            if OF_ALL not in line
            and (
                not (found := re.search(ALONE, line))
                or found["extra"] in self.extras
                or found["extra"] not in EXTRAS
            )
        ]
        self.has_passed = code == 0 and counts.get("passed", 0) > 0 and not unexpected
        self.outcome = f"{counts.get('passed', 0)} passed"
        for kind in ("failed", "errors", "error", "skipped"):
            if counts.get(kind):
                self.outcome += f", {counts[kind]} {kind}"
        if skipped and not unexpected:
            self.outcome += " (need what is left out)"
        elif unexpected:
            self.outcome += f": NOT EXPECTED: {unexpected[0]}"


def build() -> None:
    """Build the release, and unpack the sdist without the package, beside which tests would import it."""
    for each in (DIST, TREE):
        shutil.rmtree(each, ignore_errors=True)
    subprocess.run([UV, "build", "--quiet", "--out-dir", DIST], cwd=ROOT, check=True)
    [sdist] = DIST.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(FOLDER, filter="data")
    (FOLDER / sdist.name.removesuffix(".tar.gz")).rename(TREE)
    shutil.rmtree(TREE / "usercom_asgi")
    (TREE / "pytest_usercom.py").unlink()


def built_wheel() -> Path:
    """Return the wheel, which uv has built from the sdist."""
    return next(iter(DIST.glob("*.whl")))


def versions_in(interpreter: str | Path) -> str:
    """Return what is installed of the packages that count."""
    found = subprocess.run(
        [UV, "pip", "list", "--python", interpreter],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    installed = dict(line.split()[:2] for line in found.stdout.splitlines()[2:])
    return ", ".join(f"{each} {installed[each]}" for each in SHOWN if each in installed)


def find_python(version: str) -> str:
    """Return the path of this Python; empty if this machine has none. Nothing is downloaded."""
    found = subprocess.run(
        [UV, "python", "find", "--no-python-downloads", version],
        check=False,
        capture_output=True,
        text=True,
    )
    if found.returncode == 0:
        return found.stdout.strip()
    # uv asks pyenv's shims, which answer for the version in use alone.
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    return str(next(iter(sorted(root.glob(f"versions/{version}.*/bin/python"))), ""))


def main(*, is_short: bool) -> int:
    """Check the environments; return 1 if one has failed."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    build()
    here = "{}.{}".format(*sys.version_info)
    environments = [Environment("lowest", here, EXTRAS, is_lowest=True)]
    missing = []
    for minor in (11, 12, 13, 14):
        version = f"3.{minor}"
        if version == here:
            continue
        if interpreter := find_python(version):
            environments.append(Environment(f"newest, Python {version}", interpreter, EXTRAS))
        else:
            missing.append(version)
    # The short ones last, which fills both places.
    alone = [Environment(f"newest, {extra} alone", here, (extra,)) for extra in EXTRAS]
    if is_short:
        environments, alone = environments[:1], []
    environments += [*alone, Environment("newest, no extra", here, ())]
    with ThreadPoolExecutor(max(2, os.cpu_count() or 2)) as pool:
        list(pool.map(Environment.check, environments))
    width = max(len(each.name) for each in environments)
    print(f"\n{'environment':{width}}  {'s':>4}  outcome; versions")
    for each in environments:
        print(f"{each.name:{width}}  {each.seconds:4.0f}  {each.outcome}; {each.versions}")
    print(
        f"{'newest, .venv':{width}}     -  the whole suite, by `make test`; {versions_in(sys.executable)}"
    )
    for version in missing:
        print(f"Python {version}: not tested, there is none on this machine")
    return 0 if all(each.has_passed for each in environments) else 1


if __name__ == "__main__":
    sys.exit(main(is_short="--short" in sys.argv[1:]))
