"""Shows the roles of docstrings (``:class:`~package.Name```) as links on the documentation site.

An extension of griffe, which mkdocstrings reads docstrings with: see mkdocs.yml. A role whose
target has no place on the site is shown as code.
"""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object

_ROLE = re.compile(r":[a-z]+:`(~?)([\w.]+)`")


def _link(role: re.Match[str]) -> str:
    is_short, target = role.groups()
    name = target.rpartition(".")[2] if is_short else target
    return f'<autoref optional identifier="{target}"><code>{name}</code></autoref>'


class Roles(Extension):
    """Rewrites each docstring once, when it was read."""

    def on_instance(self, *, obj: Object, **_: Any) -> None:
        """Rewrite the docstring of a module, class, function or attribute."""
        if obj.docstring is not None:
            text = _ROLE.sub(_link, obj.docstring.value)
            obj.docstring.value = text.replace("``", "`")
