"""``main``: options and exit code of `usercom-asgi demo`."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from ..sandbox.server import check_installed, port

if TYPE_CHECKING:
    from collections.abc import Sequence

_PROG = "usercom-asgi demo"
_DESCRIPTION = """\
A small shop beside a local User.com: two addresses to open. It needs no account.
The extra sandbox brings the server."""
_EPILOG = """\
examples:
  usercom-asgi demo
  usercom-asgi demo --port 8001 --sandbox-port 8901
  usercom-asgi demo --port 0 --sandbox-port 0

exit codes:
  0  after Ctrl-C or SIGTERM
  1  the server is not installed, or cannot start
  2  wrong usage"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve shop and sandbox until Ctrl-C or SIGTERM; return 1 without a server."""
    options = make_parser().parse_args(arguments)
    try:
        check_installed()
    except ModuleNotFoundError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    from .running import run  # which needs uvicorn

    run(options.port, options.sandbox_port)
    return 0


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command's options."""
    parser = argparse.ArgumentParser(
        prog=_PROG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=_DESCRIPTION,
        epilog=_EPILOG,
    )
    for name, default, what in (("--port", 8000, "shop"), ("--sandbox-port", 8900, "sandbox")):
        parser.add_argument(
            name,
            type=port,
            default=default,
            metavar="PORT",
            help=f"port of the {what} ({default}); if it is taken, and for 0, a free one is used",
        )
    return parser
