"""Commands `python -m usercom_asgi.sandbox` and `usercom-asgi sandbox`."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from typing import TYPE_CHECKING

from usercom_asgi.sandbox.app import Sandbox
from usercom_asgi.sandbox.database import UnusableFileError
from usercom_asgi.sandbox.security import TOKEN_VARIABLE, InsecureError, check_exposure
from usercom_asgi.sandbox.server import check_installed, listen, port, run, url_of
from usercom_asgi.sandbox.vendor import REST_PREFIX, REST_TOKEN

if TYPE_CHECKING:
    from collections.abc import Sequence

_PROG = "python -m usercom_asgi.sandbox"
_EPILOG = """\
examples:
  {prog}
  {prog} --port 0 --db sandbox.db
  {prog} --unified-identification --authorize-by-email
  {prog} --host 0.0.0.0 --access-token TOKEN --allowed-host host.docker.internal

exit codes:
  0  after Ctrl-C or SIGTERM
  1  the server is not installed, or cannot start
  2  wrong usage"""


def main(arguments: Sequence[str] | None = None, prog: str = _PROG) -> int:
    """Serve until Ctrl-C or SIGTERM; return 1 if the server cannot start."""
    options = make_parser(prog).parse_args(arguments)
    token = options.access_token or os.environ.get(TOKEN_VARIABLE)
    with contextlib.ExitStack() as stack:
        try:
            check_installed()
            listener = stack.enter_context(listen(options.host, options.port))
            check_exposure(listener.getsockname()[0], token)
            sandbox = Sandbox(
                api_key=options.api_key,
                unified_identification=options.unified_identification,
                authorize_by_email=options.authorize_by_email,
                rest_token=options.rest_token,
                rest_creates_attributes=options.rest_creates_attributes,
                db=options.db,
            )
        except (ModuleNotFoundError, InsecureError, UnusableFileError) as error:
            sys.stderr.write(f"{error}\n")
            return 1
        except OSError as error:
            sys.stderr.write(
                f"cannot listen on {options.host}:{options.port}: {error.strerror or error}\n"
            )
            return 1
        url = url_of(listener)
        sys.stdout.write(
            f"User.com sandbox, app key {options.api_key}\n"
            f"  dashboard  {url}/\n  widget     {url}/widget.js\n"
            f"  REST       {url}{REST_PREFIX}/, token {options.rest_token}\n"
        )
        if token:
            sys.stdout.write("  token      the dashboard asks for it: open it with ?token=TOKEN\n")
        if options.db:
            sys.stdout.write(f"  records    {options.db}\n")
        sys.stdout.flush()
        run(
            sandbox,
            listener,
            options.host,
            allowed_hosts=options.allowed_host,
            access_token=token,
        )
    return 0


def make_parser(prog: str = _PROG) -> argparse.ArgumentParser:
    """Return the parser of the command."""
    parser = argparse.ArgumentParser(
        prog=prog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="A local stand-in for User.com. The extra sandbox brings its server.",
        epilog=_EPILOG.format(prog=prog),
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: this machine only)"
    )
    parser.add_argument(
        "--allowed-host",
        action="append",
        default=[],
        metavar="NAME",
        help="name that clients may use for this server, or *.NAME; may be repeated",
    )
    parser.add_argument(
        "--access-token",
        metavar="TOKEN",
        help="token that the dashboard asks for, needed where other machines reach the server"
        f" (default: {TOKEN_VARIABLE})",
    )
    parser.add_argument(
        "--db", metavar="FILE", help="file that keeps users and records (default: memory only)"
    )
    parser.add_argument(
        "--port", type=port, default=8900, help="port to listen on; 0 selects a free one"
    )
    parser.add_argument("--api-key", default="ABC123", help="app key that the sandbox accepts")
    parser.add_argument(
        "--unified-identification", action="store_true", help="as switched on by User.com's support"
    )
    parser.add_argument(
        "--authorize-by-email", action="store_true", help="as switched on by User.com's support"
    )
    parser.add_argument("--rest-token", default=REST_TOKEN, help="token that the REST API accepts")
    parser.add_argument(
        "--rest-creates-attributes",
        action="store_true",
        help="create custom attributes of users that do not exist, instead of ignoring them",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
