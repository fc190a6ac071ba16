"""Collect the body of an answer, counting what it unpacks to while it is unpacked."""

from __future__ import annotations

import zlib

from mainspring.pack.http_errors import HttpAnswerInvalid, ResponseTooLarge

_GZIP = 16 + zlib.MAX_WBITS


class Body:
    """The decoded bytes of an answer; never holds more than one byte above *limit*, whatever its compression claims.

    Raises:
        ResponseTooLarge: as soon as there is more than *limit*.
        HttpAnswerInvalid: when the compression is damaged, cut short or unknown.
    """

    def __init__(self, url: str, encoding: str, limit: int) -> None:
        kind = encoding.strip().lower()
        if kind not in ("", "identity", "gzip", "x-gzip"):
            raise HttpAnswerInvalid(url, f"the answer is compressed with {encoding!r}, which was not asked for")
        self._url, self._limit = url, limit
        self._gzip = zlib.decompressobj(_GZIP) if kind.endswith("gzip") else None
        self._data = bytearray()
        self._empty = True

    def add(self, chunk: bytes) -> None:
        """Take the next *chunk* as it came over the wire."""
        self._empty = self._empty and not chunk
        if self._gzip is None:
            self._keep(chunk)
        while chunk and self._gzip is not None:
            chunk = self._unpack(self._gzip, chunk)

    @property
    def so_far(self) -> bytes:
        """The bytes there are by now."""
        return bytes(self._data)

    def finish(self) -> bytes:
        """Return the whole body."""
        if self._gzip is not None and not self._gzip.eof and not self._empty:
            raise HttpAnswerInvalid(self._url, "the compressed answer is cut short")
        return bytes(self._data)

    def _unpack(self, gzip: zlib._Decompress, chunk: bytes) -> bytes:
        """Keep what *chunk* unpacks to, up to the limit, and return what is left of it."""
        if gzip.eof:
            # A gzip file may have several members, one after the other.
            gzip = self._gzip = zlib.decompressobj(_GZIP)
        try:
            self._keep(gzip.decompress(chunk, self._limit + 1 - len(self._data)))
        except zlib.error as error:
            raise HttpAnswerInvalid(self._url, f"the compressed answer is damaged: {error}") from None
        return gzip.unused_data if gzip.eof else gzip.unconsumed_tail

    def _keep(self, piece: bytes) -> None:
        if len(self._data) + len(piece) > self._limit:
            raise ResponseTooLarge(self._url, self._limit)
        self._data += piece
