"""``run``: settings, output and exit code of ``usercom-asgi check``."""

from __future__ import annotations

import json
import signal
import sys
import threading
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import anyio

from ..core.config import UserComConfig
from ..core.exceptions import ConfigurationError
from ..core.exit_codes import FAILED, INTERRUPTED, OK, WRONG_USAGE
from ..core.text import printable
from .checks import Mark, Result, run_checks
from .probe import CREATES, Probe

if TYPE_CHECKING:
    import argparse


def run(options: argparse.Namespace) -> int:
    """Check the configuration, and probe if that is asked for; return the exit code."""
    try:
        config = _config(options)
    except ConfigurationError as error:
        return _refuse(str(error))
    if options.probe and not config.rest_token:
        return _refuse("--probe needs USERCOM_REST_TOKEN, to delete what it creates")
    if options.probe and not (options.yes or sys.stdin.isatty()):
        return _refuse("--probe asks before it writes; pass --yes where there is no terminal")
    try:
        return _check(config, options)
    except KeyboardInterrupt:
        return INTERRUPTED


def _config(options: argparse.Namespace) -> UserComConfig:
    settings: dict[str, Any] = {"timeout": options.timeout}
    if options.api_key is not None:
        settings["api_key"] = options.api_key
    if options.app is not None or options.base_url is not None:
        settings |= {"app": options.app, "base_url": options.base_url}
    config = UserComConfig.from_env(**settings)
    if not config.enabled:
        _note("USERCOM_ENABLED switches the library off; it is checked as if it were on")
        return UserComConfig.from_env(**settings, enabled=True)
    return config


def _check(config: UserComConfig, options: argparse.Namespace) -> int:
    if not options.json:
        print(f"{config.origin}, channel={'rest' if config.uses_rest else 'widget'!r}")

    def show(result: Result) -> None:
        print(json.dumps(asdict(result)) if options.json else result, flush=True)

    results = anyio.run(run_checks, config, show)
    failed = [each.name for each in results if each.mark is Mark.FAILS]
    code = FAILED if failed else OK
    if not options.probe:
        return code
    marks = {each.name: each.mark for each in results}
    if marks["token"] is not Mark.OK:
        _note("no probe, because the token was not accepted")
        return FAILED
    if not options.yes and not _is_agreed(config):
        _note("no probe; nothing was written")
        return code
    return max(code, _probe(config))


def _is_agreed(config: UserComConfig) -> bool:
    print(
        f"\nThe probe writes to {config.origin}: {CREATES}.\n"
        "It deletes what it creates, except the name of the events. Automations of the\n"
        "workspace may react, so use a test workspace. Continue? [y/N] ",
        end="",
        file=sys.stderr,
        flush=True,
    )
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _probe(config: UserComConfig) -> int:
    _note(f"probing {config.origin}: {CREATES}")
    probe, code = Probe(config, _note), OK
    replaced = _handle_as_interrupt("SIGTERM", "SIGHUP")
    try:
        anyio.run(probe.run)
    except KeyboardInterrupt:  # it has cleaned up
        code = INTERRUPTED
    finally:
        for number in replaced:
            signal.signal(number, signal.SIG_DFL)
    print(f"\n{probe.report()}")
    return code or (FAILED if probe.leftovers else OK)


def _handle_as_interrupt(*names: str) -> list[int]:
    """Let signals that end the process at once act as Ctrl-C; return their numbers."""
    if threading.current_thread() is not threading.main_thread():
        return []
    numbers = [getattr(signal, each) for each in names if hasattr(signal, each)]
    # One that nohup ignores stays ignored.
    replaced = [each for each in numbers if signal.getsignal(each) is signal.SIG_DFL]
    for each in replaced:
        signal.signal(each, _interrupt)
    # A script's background job ignores SIGINT, which the others become here.
    if replaced and signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    return replaced


def _interrupt(_number: int, _frame: object) -> None:
    signal.raise_signal(signal.SIGINT)


def _note(text: str) -> None:
    print(f"usercom-asgi: {printable(text)}", file=sys.stderr, flush=True)


def _refuse(problem: str) -> int:
    _note(problem)
    return WRONG_USAGE
