"""Content-Encoding: gzip and deflate are decoded and encoded again in a stream."""

from __future__ import annotations

import zlib

#: The most bytes that one chunk of a body may decode to, in order to stop bombs.
MAX_DECODED_BYTES = 64 * 1024 * 1024
# A gzip body may consist of members. Each copies the rest of the data, so reading
# N members takes time in proportion to the square of N.
_MAX_MEMBERS = 256
_GZIP_MAGIC = b"\x1f\x8b"
# zlib's window bits select the format.
_WINDOW_BITS = {
    b"gzip": zlib.MAX_WBITS | 16,
    b"x-gzip": zlib.MAX_WBITS | 16,
    b"deflate": zlib.MAX_WBITS,
}


class CodingError(Exception):
    """The body does not match its ``Content-Encoding``, or decodes to too much."""


class Coding:
    """The decoder and the encoder of one body, gzip or deflate.

    The deflate of HTTP is zlib's format, but some servers send it without the header.
    """

    def __init__(self, window_bits: int) -> None:
        self._window_bits = window_bits
        self._decoder = zlib.decompressobj(window_bits)
        self._encoder = zlib.compressobj(6, zlib.DEFLATED, window_bits)
        self._has_begun = False
        self._members = 1

    def decode(self, data: bytes, *, last: bool) -> bytes:
        """Return the decoded bytes; raise CodingError if they are corrupt or cut off.

        Bytes behind the end, such as padding, are ignored.
        """
        if not self._has_begun and data:
            self._has_begun = True
            if self._window_bits == zlib.MAX_WBITS and data[0] & 0x0F != zlib.DEFLATED:
                self._decoder = zlib.decompressobj(-zlib.MAX_WBITS)
                self._encoder = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
        try:
            decoded = self._decoder.decompress(data, MAX_DECODED_BYTES)
            while self._next_member_follows():
                self._members += 1
                if self._members > _MAX_MEMBERS:
                    raise CodingError(f"more than {_MAX_MEMBERS} members")
                rest = self._decoder.unused_data
                self._decoder = zlib.decompressobj(self._window_bits)
                decoded += self._decoder.decompress(rest, MAX_DECODED_BYTES)
                if len(decoded) > MAX_DECODED_BYTES:
                    raise CodingError("too many bytes in one chunk")
        except zlib.error as error:
            raise CodingError(str(error)) from None
        if self._decoder.unconsumed_tail:
            raise CodingError("too many bytes in one chunk")
        if last and self._has_begun and not self._decoder.eof:
            raise CodingError("the body is cut off")
        return decoded

    def encode(self, data: bytes, *, last: bool) -> bytes:
        """Return the encoded bytes, flushed, so the browser can show them at once."""
        how = zlib.Z_FINISH if last else zlib.Z_SYNC_FLUSH
        return self._encoder.compress(data) + self._encoder.flush(how)

    def _next_member_follows(self) -> bool:
        return (
            self._decoder.eof
            and self._window_bits > zlib.MAX_WBITS
            and self._decoder.unused_data.startswith(_GZIP_MAGIC)
        )


def content_encoding(value: bytes) -> bytes | None:
    """Return the normalised ``Content-Encoding``; None if the body is not encoded.

    Several encodings stay joined by commas.
    """
    names = [name.strip().lower() for name in value.split(b",")]
    return b",".join(name for name in names if name not in (b"", b"identity")) or None


def is_supported(name: bytes) -> bool:
    """Return True if bodies of this encoding can be decoded and encoded again."""
    return name in _WINDOW_BITS


def open_encoding(name: bytes) -> Coding | None:
    """Return the decoder and encoder for one body; None without support for it."""
    window_bits = _WINDOW_BITS.get(name)
    return None if window_bits is None else Coding(window_bits)
