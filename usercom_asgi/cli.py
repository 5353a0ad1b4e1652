"""The command ``usercom-asgi``."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .core.exceptions import OutboxError
from .core.exit_codes import FAILED, INTERRUPTED, OK, WRONG_USAGE
from .core.text import printable
from .delivery.sqlite import admin

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    # argparse has no public name for it.
    _Commands = argparse._SubParsersAction[argparse.ArgumentParser]  # pyright: ignore[reportPrivateUsage]

# Larger numbers cannot be the id of a row.
MAX_SQLITE_INTEGER = 2**63 - 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return the exit code, which the help of each command lists."""
    given = sys.argv[1:] if arguments is None else [*arguments]
    try:
        if given and (serve := _SERVERS.get(given[0])):
            return serve(given[1:])
        options = make_parser().parse_args(given)
        code = int(options.run(options))
        sys.stdout.flush()
    except OutboxError as error:
        print(f"usercom-asgi: {printable(str(error))}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # `| head`
        # Python flushes once more at its end, and would print that this fails.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code


def _sandbox(arguments: Sequence[str]) -> int:
    from .sandbox.__main__ import main

    return main(arguments, prog="usercom-asgi sandbox")


def _demo(arguments: Sequence[str]) -> int:
    from .demo.command import main

    return main(arguments)


# These have parsers of their own, so that no other command loads a server.
_SERVERS: dict[str, Callable[[Sequence[str]], int]] = {"demo": _demo, "sandbox": _sandbox}


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands, except for the options of the servers."""
    parser = _described(
        argparse.ArgumentParser,
        "User.com for ASGI applications. COMMAND --help has more, with examples.",
        ["demo", "check --app acme", "outbox list usercom.db"],
        prog="usercom-asgi",
    )
    parser.add_argument(
        "--version", action="version", version=f"usercom-asgi {version('usercom-asgi')}"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    commands.add_parser("demo", add_help=False, help="serve a small shop beside a local User.com")
    commands.add_parser("sandbox", add_help=False, help="serve a local User.com")
    _add_outbox(commands)
    _add_check(commands)
    return parser


def _described(
    make: Callable[..., argparse.ArgumentParser],
    description: str,
    examples: Iterable[str],
    failure: str = "failure",
    **arguments: Any,
) -> argparse.ArgumentParser:
    """Return a parser whose help has examples and exit codes."""
    lines = "\n".join(f"  usercom-asgi {each}" for each in examples)
    return make(
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"examples:\n{lines}\n\nexit codes:\n  {OK}  success\n  {FAILED}  {failure}\n"
        f"  {WRONG_USAGE}  wrong usage or configuration\n  {INTERRUPTED}  interrupted by Ctrl-C",
        **arguments,
    )


def _add_outbox(commands: _Commands) -> None:
    verbs = _described(
        partial(commands.add_parser, "outbox"),
        "Show and change the file of a SqliteOutbox, also while servers use it.",
        ["outbox list usercom.db", "outbox retry usercom.db --all"],
        help="list, retry and purge the commands of a SqliteOutbox",
    ).add_subparsers(required=True, metavar="VERB")

    listing = _described(
        partial(verbs.add_parser, "list"),
        "List waiting commands and dead letters, without keys and values.",
        ["outbox list usercom.db", "outbox list usercom.db --dead --limit 100 --json"],
        failure="the file cannot be read",
        help="list waiting commands and dead letters",
    )
    listing.add_argument("path", type=Path, help="the file")
    listing.add_argument("--dead", action="store_true", help="only dead letters")
    listing.add_argument(
        "--limit", type=_whole_number, default=20, metavar="N", help="at most N of each (20)"
    )
    listing.add_argument(
        "--values", action="store_true", help="include keys, values and responses (personal data)"
    )
    listing.add_argument("--json", action="store_true", help="as lines of JSON")
    listing.set_defaults(run=_list)

    retry = _described(
        partial(verbs.add_parser, "retry"),
        "Send dead letters again: those with these ids, or all.",
        ["outbox retry usercom.db 17 18", "outbox retry usercom.db --all"],
        failure="the file cannot be changed, or an id does not exist",
        help="send dead letters again",
    )
    retry.add_argument("path", type=Path, help="the file")
    _add_ids(retry)
    retry.set_defaults(run=_retry)

    purge = _described(
        partial(verbs.add_parser, "purge"),
        "Delete dead letters or waiting commands: those with these ids, or all.",
        ["outbox purge usercom.db dead 17 18", "outbox purge usercom.db waiting --all"],
        failure="the file cannot be changed, or an id does not exist",
        help="delete dead letters or waiting commands",
    )
    purge.add_argument("path", type=Path, help="the file")
    purge.add_argument("kind", choices=["dead", "waiting"])
    _add_ids(purge)
    purge.set_defaults(run=_purge)


def _add_check(commands: _Commands) -> None:
    check = _described(
        partial(commands.add_parser, "check"),
        "Check a configuration by calls that create and change nothing. The settings are\n"
        "those of the environment (USERCOM_APP and the like); the token is read from\n"
        "USERCOM_REST_TOKEN alone.",
        [
            "check",
            "check --app acme --api-key ABC123",
            "check --base-url http://127.0.0.1:8900 --json",
            "check --app acme-test --probe",
        ],
        failure="a check failed, or the probe left objects behind",
        help="check a configuration against its workspace or the sandbox",
    )
    where = check.add_mutually_exclusive_group()
    where.add_argument("--app", metavar="NAME", help="the subdomain, instead of USERCOM_APP")
    where.add_argument("--base-url", metavar="URL", help="the address, such as of the sandbox")
    check.add_argument("--api-key", metavar="KEY", help="the app key, instead of USERCOM_API_KEY")
    check.add_argument(
        "--timeout",
        type=float,
        default=5.0,
        metavar="SECONDS",
        help="of each phase of a call (5); a call in all may take three times as long",
    )
    output = check.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="as lines of JSON")
    output.add_argument(
        "--probe",
        action="store_true",
        help="also find out what is not documented of User.com, on a test workspace: it asks, "
        "creates objects, deletes them, and prints a report for an issue",
    )
    check.add_argument("--yes", action="store_true", help="let --probe write without a question")
    check.set_defaults(run=_check)


def _check(options: argparse.Namespace) -> int:
    from .check.command import run  # which loads the HTTP client

    return run(options)


def _add_ids(parser: argparse.ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--all", action="store_true", help="all of them")
    which.add_argument(
        "ids", nargs="*", type=_whole_number, default=[], metavar="ID", help="ids as shown by list"
    )


def _whole_number(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be a whole number of 1 or more")
    return min(number, MAX_SQLITE_INTEGER)


def _list(options: argparse.Namespace) -> int:
    waiting = [] if options.dead else admin.waiting_rows(options.path, options.limit)
    dead = admin.dead_rows(options.path, options.limit)
    if options.json:
        for row in (*waiting, *dead):
            print(json.dumps(_as_json(row, values=options.values)))
        return 0
    found = admin.summary(options.path)
    age = f", oldest: {_format_age(time.time() - found.oldest)}" if found.oldest else ""
    print(
        f"waiting: {found.waiting} (visitors: {found.visitors}{age});"
        f" dead letters: {found.dead}; senders: {found.owners}"
    )
    for title, rows, total in (
        ("waiting", waiting, found.waiting),
        ("dead letters", dead, found.dead),
    ):
        if rows:
            print(f"\n{title}" + (f" ({len(rows)} of {total})" if total > len(rows) else ""))
        for row in rows:
            print(_format_row(row, values=options.values))
    return 0


def _retry(options: argparse.Namespace) -> int:
    many = admin.retry(options.path, None if options.all else options.ids)
    print(f"queued again: {many}")
    return _all_found(many, options)


def _purge(options: argparse.Namespace) -> int:
    table = "dead" if options.kind == "dead" else "commands"
    many = admin.purge(options.path, table, None if options.all else options.ids)
    print(f"purged: {many}")
    return _all_found(many, options)


def _all_found(many: int, options: argparse.Namespace) -> int:
    if not options.all and many < len(set(options.ids)):
        print("usercom-asgi: some of these ids do not exist", file=sys.stderr)
        return 1
    return 0


def _format_row(row: admin.Row, *, values: bool) -> str:
    age = _format_age(time.time() - row.created_at)
    line = f"{row.id:>8}  {age:>6}  {row.visitor}  {printable(row.body if values else row.what)}"
    if row.died_at is None:
        return line
    answer = f"\n{'':>18}{row.detail!r}" if values and row.detail else ""
    return f"{line}\n{'':>18}{printable(row.reason)}{answer}"


def _as_json(row: admin.Row, *, values: bool) -> dict[str, Any]:
    known: dict[str, Any] = {
        "id": row.id,
        "visitor": row.visitor,
        "created_at": row.created_at,
        "command": row.what,
    }
    if row.died_at is not None:
        known |= {"died_at": row.died_at, "status": row.status, "reason": row.reason}
    return {**known, "body": row.body, "detail": row.detail} if values else known


def _format_age(seconds: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


if __name__ == "__main__":  # python -m usercom_asgi.cli
    sys.exit(main())
