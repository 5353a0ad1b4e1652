"""The extension ``http.response.pathsend``: the application names a file as the body.

Granian has it, and Starlette's static files use it. A page has to be read for the
snippet; other files still go to the server by their paths.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from anyio import to_thread

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from starlette.types import Message

PATHSEND = "http.response.pathsend"
# A shorter file is read at once, in one call of a thread, and gets its Content-Length.
_CHUNK_BYTES = 256 * 1024


async def read_bodies(message: Message) -> AsyncGenerator[Message, None]:
    """Yield the file that a message names as messages with its bytes.

    Raises:
        OSError: The file cannot be read.

    """
    chunk, file = await to_thread.run_sync(_open, message["path"])
    try:
        while file is not None:
            following = await to_thread.run_sync(file.read, _CHUNK_BYTES)
            if not following:
                break
            yield _body(chunk, more=True)
            chunk = following
    finally:
        if file is not None:
            file.close()
    yield _body(chunk, more=False)


def _open(path: str) -> tuple[bytes, BinaryIO | None]:
    """Return the first bytes of a file, and the file unless these are all."""
    try:
        if not Path(path).is_file():  # opening a pipe would wait for its writer
            raise OSError(f"{path!r} is not a file")
        file = Path(path).open("rb")  # noqa: SIM115  the caller closes it
    except (TypeError, ValueError) as error:  # a path that no file can have
        raise OSError(str(error)) from None
    try:
        chunk = file.read(_CHUNK_BYTES)
    except BaseException:
        file.close()
        raise
    if len(chunk) == _CHUNK_BYTES:
        return chunk, file
    file.close()
    return chunk, None


def _body(chunk: bytes, *, more: bool) -> Message:
    return {"type": "http.response.body", "body": chunk, "more_body": more}
