"""One call to the REST API, and the errors that it may be answered with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from starlette.responses import Response

from usercom_asgi.sandbox import responses

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from starlette.datastructures import QueryParams

    from usercom_asgi.sandbox.store import Store
    from usercom_asgi.sandbox.workspace import Workspace

    Handler = Callable[["Call"], Response]


class RestError(Exception):
    """Answer of an error, with its reason for the records of the sandbox."""

    def __init__(
        self, status: int, body: Mapping[str, Any] | str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(status)
        self.status = status
        self.body = body
        self.headers = dict(headers or {})

    @property
    def reason(self) -> str:
        """Sentences of the body."""
        if isinstance(self.body, str):
            return "no such route: check the path and its trailing slash"
        if "errors" not in self.body:
            return str(self.body["detail"])
        return "; ".join(f"{n}: {' '.join(all_)}" for n, all_ in self.body["errors"].items())

    def response(self) -> Response:
        """Return the answer: JSON, or the HTML page for an unknown route."""
        if isinstance(self.body, str):
            return Response(self.body, self.status, self.headers, media_type="text/html")
        return responses.json_response(self.body, self.status, self.headers)


def invalid(errors: Mapping[str, list[str]]) -> RestError:
    """Return a 400: sentences by field, in `errors` [C rec]."""
    return RestError(400, {"errors": errors})


def not_found() -> RestError:
    """Return the 404 of a known route [C rec]."""
    return RestError(404, {"detail": "Not found."})


@dataclass(kw_only=True)
class Call:
    """Authenticated call with its parsed body."""

    workspace: Workspace
    method: str
    path: str
    origin: str
    user_agent: str
    params: Mapping[str, str]
    query: QueryParams
    body: dict[str, Any] = field(default_factory=dict[str, Any])

    @property
    def store(self) -> Store:
        """Store of the workspace, which is locked during the call."""
        return self.workspace.store

    def number(self, name: str = "id") -> int:
        """Return an id of the path, or raise a 404."""
        text = self.params[name]
        if not (text.isascii() and text.isdigit() and len(text) <= 19):
            raise not_found()
        return int(text)


def ok(value: Any, status: int = 200) -> Response:
    """Return an answer of JSON."""
    return responses.json_response(value, status)


def empty(status: int = 200) -> Response:
    """Return an answer without a body and a Content-Type, as writes may [C rec]."""
    return Response(status_code=status)
