"""Asks whether the addresses of other sites that pages name still answer.

``make docs-links``. It needs a network, so no test runs it. The site's own links are checked by
its build, and by tests/test_readme.py.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import httpx

# Not of this world: addresses of examples, of this machine, and of the project itself.
_OWN = re.compile(
    r"https?://(127\.0\.0\.1|localhost|[\w.-]*example\.com|(acme|app|widget)\.user\.com|"
    r"usercom-asgi\.github\.io|(raw\.githubusercontent|github)\.com/usercom-asgi)"
)


def addresses(paths: list[Path]) -> set[str]:
    """Return the addresses of other sites in Markdown files and in folders of them."""
    files = [file for path in paths for file in ([path] if path.is_file() else path.rglob("*.md"))]
    prose = "".join(
        re.sub(r"```.*?```|`[^`]*`", "", file.read_text(), flags=re.DOTALL) for file in files
    )
    return {each for each in re.findall(r"https?://[^\s)>`\"']+", prose) if not _OWN.match(each)}


def main(paths: list[str]) -> int:
    """Print each address that does not answer; return how many these are."""
    failures = 0
    with httpx.Client(follow_redirects=True, timeout=20) as client:
        for address in sorted(addresses([Path(each) for each in paths])):
            try:
                status = str(client.get(address).status_code)
            except httpx.HTTPError as error:
                status = type(error).__name__
            if not status.startswith("2"):
                failures += 1
                sys.stdout.write(f"{status}  {address}\n")
    return failures


if __name__ == "__main__":
    sys.exit(min(main(sys.argv[1:]), 1))
