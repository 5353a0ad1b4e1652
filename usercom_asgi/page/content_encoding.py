"""Content codings: a body that is compressed already is decoded, changed and encoded again, in the stream."""

from __future__ import annotations

import zlib
from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable


#: More than this at once from one chunk is no page, but a bomb.
MOST = 64 * 1024 * 1024
# A body may be several that were encoded each for itself, one behind the other.
_MOST_MEMBERS = 256


class CodingError(Exception):
    """The bytes are not what ``Content-Encoding`` says."""


class Coding(Protocol):
    """One body on its way through."""

    def decode(self, data: bytes, *, last: bool) -> bytes:
        """Return what these bytes say; raise CodingError if they are corrupt, or end too early."""
        ...

    def encode(self, data: bytes, *, last: bool) -> bytes:
        """Return these bytes encoded, and all that was said so far with them: nobody is kept waiting."""
        ...


class _Zlib:
    """gzip and deflate. What is called deflate is zlib's format, and without its header where servers get it wrong."""

    def __init__(self, window: int) -> None:
        self._window = window
        self._decoder = zlib.decompressobj(window)
        self._encoder = zlib.compressobj(6, zlib.DEFLATED, window)
        self._has_begun = False
        self._members = 1

    def decode(self, data: bytes, *, last: bool) -> bytes:
        if (
            not self._has_begun
            and data
            and self._window == zlib.MAX_WBITS
            and data[0] & 0x0F != zlib.DEFLATED
        ):
            self._decoder = zlib.decompressobj(-zlib.MAX_WBITS)
            self._encoder = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
        self._has_begun = self._has_begun or bool(data)
        try:
            out = self._decoder.decompress(data, MOST)
            while (
                self._decoder.eof
                and self._decoder.unused_data.startswith(b"\x1f\x8b")
                and self._window > zlib.MAX_WBITS
            ):
                rest, self._decoder = (
                    self._decoder.unused_data,
                    zlib.decompressobj(self._window),
                )  # another member
                self._members = _one_more(self._members)
                out += self._decoder.decompress(rest, MOST)
                _check(out)
        except zlib.error as error:
            raise CodingError(str(error)) from None
        if self._decoder.unconsumed_tail:
            raise CodingError("too much in one piece")
        # What stands behind the end, such as padding, nobody reads.
        if last and self._has_begun and not self._decoder.eof:
            raise CodingError("it ends too early")
        return out

    def encode(self, data: bytes, *, last: bool) -> bytes:
        return self._encoder.compress(data) + self._encoder.flush(
            zlib.Z_FINISH if last else zlib.Z_SYNC_FLUSH
        )


class _Brotli:
    def __init__(self, module: Any) -> None:
        self._error = module.error
        self._decoder = module.Decompressor()
        self._encoder = module.Compressor(quality=4)
        self._has_begun = False

    def decode(self, data: bytes, *, last: bool) -> bytes:
        self._has_begun = self._has_begun or bool(data)
        try:
            out: bytes = self._decoder.process(data) if data else b""
        except self._error as error:
            raise CodingError(str(error)) from None
        if last and self._has_begun and not self._decoder.is_finished():
            raise CodingError("it ends too early")
        return _check(out)

    def encode(self, data: bytes, *, last: bool) -> bytes:
        out: bytes = self._encoder.process(data)
        return out + bytes(self._encoder.finish() if last else self._encoder.flush())


class _Zstandard:
    def __init__(self, module: Any) -> None:
        self._module = module
        self._decoder = module.ZstdDecompressor().decompressobj()
        self._encoder = module.ZstdCompressor(level=3).compressobj()
        self._is_between = True  # two frames, or before the first
        self._frames = 1

    def decode(self, data: bytes, *, last: bool) -> bytes:
        out = b""
        try:
            while data:
                if self._decoder.eof:  # another frame (RFC 8878, 3)
                    self._decoder = self._module.ZstdDecompressor().decompressobj()
                    self._frames = _one_more(self._frames)
                out = _check(out + self._decoder.decompress(data))
                data = self._decoder.unused_data if self._decoder.eof else b""
                self._is_between = self._decoder.eof
        except self._module.ZstdError as error:
            raise CodingError(str(error)) from None
        if last and not self._is_between:
            raise CodingError("it ends too early")
        return out

    def encode(self, data: bytes, *, last: bool) -> bytes:
        out: bytes = self._encoder.compress(data)
        how = (
            self._module.COMPRESSOBJ_FLUSH_FINISH if last else self._module.COMPRESSOBJ_FLUSH_BLOCK
        )
        return out + bytes(self._encoder.flush(how))


def _one_more(members: int) -> int:
    """What is behind each is copied: very many would take the square of their number."""
    if members >= _MOST_MEMBERS:
        raise CodingError(f"it has more than {_MOST_MEMBERS} members")
    return members + 1


def _check(out: bytes) -> bytes:
    if len(out) > MOST:
        raise CodingError("too much in one piece")
    return out


_KINDS: dict[bytes, Callable[[], Coding]] = {
    b"gzip": lambda: _Zlib(zlib.MAX_WBITS | 16),
    b"x-gzip": lambda: _Zlib(zlib.MAX_WBITS | 16),
    b"deflate": lambda: _Zlib(zlib.MAX_WBITS),
    b"br": lambda: _Brotli(import_module("brotli")),
    b"zstd": lambda: _Zstandard(import_module("zstandard")),
}


_EXTRA = (
    "install the extra encodings, or put the compressing middleware outside of UserComMiddleware"
)
#: What to do where a coding cannot be undone.
HOW_TO_RECODE: dict[bytes, str] = {b"br": _EXTRA, b"zstd": _EXTRA}


def content_encoding(value: bytes) -> bytes | None:
    """Return what a ``Content-Encoding`` says: one coding, or several with commas; None for none at all."""
    names = [name.strip().lower() for name in value.split(b",")]
    return b",".join(name for name in names if name not in (b"", b"identity")) or None


@lru_cache(16)
def is_supported(name: bytes) -> bool:
    """Tell whether a coding can be undone and done again: it is known, and its library is there."""
    return open_encoding(name) is not None


def open_encoding(name: bytes) -> Coding | None:
    """Return what decodes and encodes a coding; None for one that is unknown, or whose library is not there."""
    make = _KINDS.get(name)
    try:
        return make() if make else None
    except ImportError:
        return None
