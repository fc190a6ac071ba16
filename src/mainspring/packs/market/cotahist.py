"""Read B3's daily quotes (COTAHIST): lines of 245 characters, or a zip archive with them.

Layout by B3, "Layout do arquivo de cotações históricas"; positions there count from 1, slices here from 0.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import IO, Final

from mainspring.packs.market.scraper import ScrapeError

LINE_LENGTH: Final = 245
UNPACKED_LIMIT: Final = 2 * 1024**3
SPOT_MARKET: Final = 10

_NO_EXPIRY = "99991231"
_CHUNK = 64 * 1024


class CotahistInvalid(ScrapeError):
    """A file is no whole COTAHIST file; names the line and what is wrong there."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(f"COTAHIST line {line}: {problem}")
        self.line = line


@dataclass(frozen=True, slots=True)
class DailyQuote:
    """One paper's figures of one trading day and market; prices are for `quotation_factor` papers, in `currency`."""

    day: date
    ticker: str
    bdi_code: str
    market: int
    company: str
    specification: str
    term_days: int | None
    currency: str
    open: Decimal
    high: Decimal
    low: Decimal
    average: Decimal
    close: Decimal
    best_bid: Decimal
    best_ask: Decimal
    trades: int
    quantity: int
    volume: Decimal
    strike: Decimal
    expires_on: date | None
    quotation_factor: int
    isin: str
    distribution: int


def read_cotahist(lines: Iterable[bytes], ticker: str | None = None) -> Iterator[DailyQuote]:
    """Yield the quotes in *lines*, in their order; only those of *ticker* when it is given.

    Header, every line's length and type, and the trailer's count are checked as they come: a file that was cut short
    raises at its end, after what it holds was yielded.

    Raises:
        CotahistInvalid: naming the first line that does not fit.
    """
    wanted = ticker.encode("latin-1", "replace").ljust(12) if ticker is not None else None
    number, ended = 0, False
    for raw in lines:
        line = raw.rstrip(b"\r\n")
        if not line.strip(b"\x00\x1a "):
            continue
        number += 1
        if ended:
            raise CotahistInvalid(number, "stands after the trailer")
        if len(line) != LINE_LENGTH:
            raise CotahistInvalid(number, f"is {len(line)} characters long, not {LINE_LENGTH}")
        kind = line[:2]
        if (kind == b"00") != (number == 1):
            raise CotahistInvalid(number, "the header (type 00) must come first, and once")
        if kind == b"00":
            if line[2:10] != b"COTAHIST":
                raise CotahistInvalid(number, f"the file is called {line[2:10]!r}, not COTAHIST")
        elif kind == b"99":
            _check_count(line, number)
            ended = True
        elif kind != b"01":
            raise CotahistInvalid(number, f"has the record type {kind.decode('latin-1')!r}; known: 00, 01, 99")
        elif wanted is None or line[12:24] == wanted:
            yield _quote(line.decode("latin-1"), number)
    if not ended:
        raise CotahistInvalid(number, "the file ends without its trailer (type 99); it is cut short")


def open_cotahist(content: bytes) -> Iterator[bytes]:
    """Yield the lines of *content*, a text file or a zip archive with one in it, without unpacking it whole.

    Raises:
        CotahistInvalid: when the archive is damaged or holds no text file, or unpacks to more than `UNPACKED_LIMIT`.
    """
    if not content.startswith(b"PK"):
        yield from _lines(io.BytesIO(content))
        return
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            if len(members) != 1:
                raise CotahistInvalid(0, f"the archive holds {len(members)} files, not one")
            with archive.open(members[0]) as file:
                yield from _lines(file)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise CotahistInvalid(0, f"the archive is damaged: {error}") from error


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    total, rest = 0, b""
    while chunk := file.read(_CHUNK):
        total += len(chunk)
        if total > UNPACKED_LIMIT:
            raise CotahistInvalid(0, f"the file unpacks to more than {UNPACKED_LIMIT} bytes")
        *lines, rest = (rest + chunk).split(b"\n")
        yield from lines
        if len(rest) > _CHUNK:
            # A line without an end must not fill the memory; as it is, it is refused for its length.
            yield rest
            rest = b""
    if rest:
        yield rest


def _check_count(line: bytes, number: int) -> None:
    stated = _whole(line[31:42].decode("latin-1"), number, "total of records")
    if stated != number:
        raise CotahistInvalid(number, f"the trailer counts {stated} records, the file has {number}")


def _quote(line: str, number: int) -> DailyQuote:
    def price(start: int, name: str, digits: int = 13) -> Decimal:
        return Decimal(_whole(line[start : start + digits], number, name)).scaleb(-2)

    expiry = line[202:210]
    return DailyQuote(
        day=_date(line[2:10], number, "date of the trading day"),
        bdi_code=line[10:12].strip(),
        ticker=line[12:24].strip(),
        market=_whole(line[24:27], number, "type of market"),
        company=line[27:39].strip(),
        specification=" ".join(line[39:49].split()),
        term_days=_whole(line[49:52], number, "term in days") if line[49:52].strip() else None,
        currency=line[52:56].strip(),
        open=price(56, "opening price"),
        high=price(69, "highest price"),
        low=price(82, "lowest price"),
        average=price(95, "average price"),
        close=price(108, "last price"),
        best_bid=price(121, "best bid"),
        best_ask=price(134, "best ask"),
        trades=_whole(line[147:152], number, "number of trades"),
        quantity=_whole(line[152:170], number, "quantity"),
        volume=price(170, "volume", 18),
        strike=price(188, "strike price"),
        expires_on=None if expiry in (_NO_EXPIRY, "00000000") else _date(expiry, number, "date of expiry"),
        quotation_factor=_whole(line[210:217], number, "quotation factor"),
        isin=line[230:242].strip(),
        distribution=_whole(line[242:245], number, "distribution number"),
    )


def _whole(text: str, number: int, name: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise CotahistInvalid(number, f"the {name} is {text!r}, not digits")
    return int(text)


def _date(text: str, number: int, name: str) -> date:
    try:
        return date(_whole(text[:4], number, name), _whole(text[4:6], number, name), _whole(text[6:], number, name))
    except ValueError:
        raise CotahistInvalid(number, f"the {name} is {text!r}, no date yyyymmdd") from None
