"""`python -m examples.demo`: the same as `usercom-asgi demo`."""

from __future__ import annotations

import sys

from usercom_asgi.demo.command import main

if __name__ == "__main__":
    sys.exit(main(prog="python -m examples.demo"))
