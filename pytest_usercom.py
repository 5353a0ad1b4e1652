"""The pytest plugin of usercom-asgi: the fixtures ``usercom`` and ``usercom_sandbox``.

It stands beside the package, because pytest imports it at each start. An import of the
package would take its time there, and would begin before pytest-cov measures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from usercom_asgi.testing import Captured, LiveSandbox


@pytest.fixture
def usercom() -> Iterator[Captured]:
    """Capture what this test's applications and clients send to User.com."""
    from usercom_asgi.testing import capture

    with capture() as captured:
        yield captured


@pytest.fixture(scope="session")
def _usercom_sandbox() -> Iterator[LiveSandbox]:
    from usercom_asgi.testing.sandbox import serve_sandbox

    with serve_sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def usercom_sandbox(_usercom_sandbox: LiveSandbox) -> LiveSandbox:
    """Serve a local User.com, empty for each test; needs the extra ``sandbox``."""
    _usercom_sandbox.reset()
    return _usercom_sandbox
