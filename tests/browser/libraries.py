"""Scripts that the tests' pages load: htmx and Turbo, from two packages for Django, whose code is not wanted."""

from __future__ import annotations

from importlib.metadata import distribution
from pathlib import Path


def _read(package: str, path: str) -> str:
    return Path(str(distribution(package).locate_file(path))).read_text()


HTMX = {
    name: _read("django-htmx", f"django_htmx/static/django_htmx/htmx-{name}.min.js")
    for name in ("2", "4")
}
TURBO = _read("turbo-django", "turbo/static/turbo/js/turbo.min.js")
