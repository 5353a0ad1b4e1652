"""The script ``usercom-asgi``. It is beside the package, whose import takes 0.3 s."""

from __future__ import annotations


def main() -> int:
    """Run the command; Ctrl-C during the import ends it without a traceback."""
    try:
        from usercom_asgi.cli import main as run
    except KeyboardInterrupt:
        return 130  # `INTERRUPTED` of `usercom_asgi.core.exit_codes`, which is not loaded yet
    return run()
