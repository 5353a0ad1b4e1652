"""Names and fields of log records, in the code and in docs/observability.md."""

from __future__ import annotations

import ast
import logging
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from helpers.apps import app_with
from helpers.asgi_client import call, lifespan
from helpers.fake_usercom import FakeUserCom

import usercom_asgi
from usercom_asgi import UserComMiddleware

PACKAGE = Path(usercom_asgi.__file__).parent
PAGE = Path(__file__).parents[2] / "docs" / "observability.md"
ROW = re.compile(r"^\| `(?P<name>\w+)` \| (?P<levels>[A-Z, ]+) \|.*\|(?P<fields>[^|]*)\|$", re.M)
LEVELS = {"exception": "ERROR"}
#: Functions that write the record of their caller, and the level of each.
HELPERS = {"warn_once": "WARNING", "log_no_widget": "DEBUG", "_throttle.log": "", "log": ""}
#: Functions whose records have the event of the caller.
INSIDE = {"warn_once", "LogThrottle.log", "log_no_widget"}
#: The `extra` of several records, by the source of the expression.
SHARED: dict[str, tuple[str, tuple[str, ...]]] = {
    "INTERNAL_ERROR": ("internal_error", ()),
    "_INVALID_ROW": ("outbox_row_invalid", ()),
    "failed_hook": ("hook_failed", ("hook",)),
}


@dataclass
class Event:
    """What is known of the records of one name."""

    levels: set[str] = field(default_factory=set)
    fields: set[str] = field(default_factory=set)


def calls(tree: ast.AST, inside: str = "") -> Iterator[tuple[ast.Call, str]]:
    """Every call, with the qualified name of the function that makes it."""
    for node in ast.iter_child_nodes(tree):
        name = inside
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            name = f"{inside}.{node.name}".lstrip(".")
        if isinstance(node, ast.Call):
            yield node, name
        yield from calls(node, name)


def text_of(node: ast.expr) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def texts_of(node: ast.expr | None, source: dict[str, set[str]]) -> set[str]:
    """The values that a name of an event may have: a literal, or the literals of a variable."""
    if node is None:
        return set()
    if (text := text_of(node)) is not None:
        return {text}
    return source.get(ast.unparse(node), set())


def events_of(path: Path) -> dict[str, Event]:
    """The events of a module; fails for a record without one."""
    tree = ast.parse(path.read_text())
    source: dict[str, set[str]] = {}
    for each in ast.walk(tree):
        if isinstance(each, ast.Assign) and isinstance(each.value, (ast.Constant, ast.IfExp)):
            branches = (
                [each.value.body, each.value.orelse]
                if isinstance(each.value, ast.IfExp)
                else [each.value]
            )
            source[ast.unparse(each.targets[0])] = {
                text for branch in branches if (text := text_of(branch)) is not None
            }
    found: dict[str, Event] = {}
    for node, inside in calls(tree):
        function = ast.unparse(node.func).removeprefix("self.")
        where = f"{path.relative_to(PACKAGE)}:{node.lineno}"
        if inside in INSIDE:
            continue
        level, names, fields = "", set[str](), set[str]()
        if function.startswith("logger.") and function != "logger.isEnabledFor":
            method = function.removeprefix("logger.")
            level = LEVELS.get(method, method.upper())
            extra = next((each.value for each in node.keywords if each.arg == "extra"), None)
            assert extra is not None, f"{where}: a record without an event"
            if isinstance(extra, ast.Dict):
                keys = [text_of(key) if key else None for key in extra.keys]
                at = dict(zip(keys, extra.values, strict=True))
                names = texts_of(at.pop("usercom_event"), source)
                assert all(key and key.startswith("usercom_") for key in at), where
                fields = {str(key).removeprefix("usercom_") for key in at}
            else:
                name, shared = SHARED[ast.unparse(extra).partition("(")[0]]
                names, fields = {name}, set(shared)
        elif function in HELPERS:
            level = HELPERS[function] or ast.unparse(node.args[0]).removeprefix("logging.")
            if function == "warn_once":
                names = texts_of(node.args[0], source)
            elif function in ("_throttle.log", "log"):
                names = texts_of(node.args[1], source)
                fields = {each.arg or "command, reason" for each in node.keywords}
            else:
                names, fields = {"widget_left_out"}, {"reason"}
        else:
            continue
        assert names, f"{where}: a record without an event"
        levels = {level}
        if level == "LOG":  # `logger.log(level, ...)`
            levels = set(re.findall(r"logging\.([A-Z]+)", ast.unparse(node.args[0])))
        for name in names:
            event = found.setdefault(name, Event())
            event.levels |= levels
            event.fields |= {each for field in fields for each in field.split(", ")}
    return found


def events_in_code() -> dict[str, Event]:
    found: dict[str, Event] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        if "sandbox" in path.relative_to(PACKAGE).parts:
            continue  # a program of its own, whose log is for its terminal
        for name, event in events_of(path).items():
            merged = found.setdefault(name, Event())
            merged.levels |= event.levels
            merged.fields |= event.fields
    return found


def rows() -> list[re.Match[str]]:
    return list(ROW.finditer(PAGE.read_text()))


@pytest.mark.slow
def test_every_event_of_the_code_is_in_the_table_with_its_levels_and_fields() -> None:
    code = {
        name: (sorted(event.levels), sorted(event.fields))
        for name, event in events_in_code().items()
    }
    docs = {
        row["name"]: (
            sorted(row["levels"].split(", ")),
            sorted(re.findall(r"`(\w+)`", row["fields"])),
        )
        for row in rows()
    }
    assert code == docs


def test_table_of_events_is_sorted_and_has_each_once() -> None:
    names = [row["name"] for row in rows()]
    assert names == sorted(set(names))


def test_record_without_an_event_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", tmp_path)
    module = tmp_path / "module.py"
    for code in (
        'logger.warning("A")',
        "warn_once(name, text)",
        'logger.info("A", extra={"usercom_event": name})',
    ):
        module.write_text(code)
        with pytest.raises(AssertionError, match=r"module.py:1: a record without an event"):
            events_of(module)


async def test_fields_of_records_hold_nothing_personal(
    usercom: FakeUserCom, caplog: pytest.LogCaptureFixture
) -> None:
    async def handler(visitor: Any) -> None:
        visitor.identify(user_id="user42", email="someone@example.com")
        await visitor.event("bought-boots", article="boots-in-red")
        await visitor.page_hit(None, None, shoe="boots-in-red")

    caplog.set_level(logging.DEBUG, "usercom_asgi")
    usercom.faults.status(400, only="event")
    middleware = UserComMiddleware(app_with(handler), usercom.config())
    key = usercom.new_user()
    async with lifespan(middleware) as state:
        await call(middleware, "/secret-page", headers={"cookie": f"__ca__chat={key}"}, state=state)
    records = [each for each in caplog.records if each.name == "usercom_asgi"]
    names = {vars(each)["usercom_event"] for each in records}
    assert {
        "delivery_started",
        "command_dead_lettered",
        "command_delivered",
        "delivery_ended",
    } <= names
    for record in records:
        fields = {
            name: value for name, value in vars(record).items() if name.startswith("usercom_")
        }
        text = repr(fields)
        for personal in ("user42", "someone@", "bought-boots", "boots-in-red", "secret-page", key):
            assert personal not in text
        # In one line of JSON, as loggers for machines have it.
        assert all(isinstance(value, (str, int, float, type(None))) for value in fields.values())
