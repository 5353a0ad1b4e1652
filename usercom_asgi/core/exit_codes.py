"""Exit codes of the command ``usercom-asgi``."""

from __future__ import annotations

OK = 0
FAILED = 1
#: As argparse has it.
WRONG_USAGE = 2
#: By Ctrl-C, as shells have it: 128 and the number of SIGINT.
INTERRUPTED = 130
