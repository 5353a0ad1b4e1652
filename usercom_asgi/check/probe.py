"""``Probe``: asks the open questions on a workspace, and reports the answers."""

from __future__ import annotations

import platform
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING

from ..api.client import open_api_client
from ..core.exceptions import UserComError
from ..core.text import printable
from ..rest.client import UserComRest
from .questions import QUESTIONS
from .session import NAME, ProbeSession, UnansweredError

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..core.config import UserComConfig
    from ..rest.call import Call

#: What a probe may create, for the question before it writes.
CREATES = (
    "up to 7 users and visitors, 1 tag, 3 custom attributes, 4 page views and "
    f"3 events named {NAME!r}"
)
_NOT_ASKED = "not asked"


class Probe:
    """Answers of one probe, which are kept if it is interrupted."""

    def __init__(
        self, config: UserComConfig, show: Callable[[str], object] = lambda _: None
    ) -> None:
        self._config = config
        self._show = show
        self._session: ProbeSession | None = None
        self._answers: dict[str, str] = {}

    async def run(self) -> None:
        """Ask each question, then remove what was created, if cancelled as well."""
        calls: list[Call] = []
        async with (
            UserComRest.from_config(self._config, concurrency=1, on_call=calls.append) as rest,
            open_api_client(self._config, None) as client,
        ):
            session = self._session = ProbeSession(rest, client, self._config.api_key)
            try:
                for text, ask in QUESTIONS:
                    self._show(text)
                    session.calls = len(calls)
                    session.too_many = sum(call.status == 429 for call in calls)
                    try:
                        self._answers[text] = await ask(session)
                    except (UnansweredError, UserComError) as error:
                        self._answers[text] = f"Not answered: {error}."
                self._show("Cleaning up")
            finally:
                await session.clean_up()

    @property
    def leftovers(self) -> list[str]:
        """What could not be removed, although the API can."""
        return self._session.leftovers() if self._session else []

    def report(self) -> str:
        """Return the answers as Markdown, without keys, token and personal data."""
        host = "a workspace of user.com" if self._config.app else "another address (`base_url`)"
        versions = f"usercom-asgi {version('usercom-asgi')}", f"Python {platform.python_version()}"
        lines = [
            "## usercom-asgi check --probe",
            "",
            f"{', '.join(versions)}, {datetime.now(UTC):%Y-%m-%d}, {host}",
            "",
        ]
        lines += [f"- **{text}** {self._answers.get(text, _NOT_ASKED)}" for text, _ in QUESTIONS]
        session = self._session
        if session is not None:
            kept = [f"event name `{NAME}`, which no call deletes"] if session.has_events else []
            left = "; ".join([*kept, *self.leftovers]) or "nothing"
            lines += ["", f"Objects removed: {session.removed}. Left in the workspace: {left}."]
        return "\n".join(map(printable, lines))
