from __future__ import annotations

import pytest
from starlette.applications import Starlette

from testing.shop import make_shop


@pytest.fixture
def app() -> Starlette:
    return make_shop()
