from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from datetime import date
from decimal import Decimal

import pytest

from mainspring.packs.market.cotahist import CotahistInvalid, DailyQuote, open_cotahist, read_cotahist

HEAD = "00COTAHIST.2026BOVESPA 20260105".ljust(245)

# Invented figures, each of them different, at the places that B3's layout gives them.
QUOTE = (
    "01" "20260105" "02" "ABCD4       " "010" "AÇÚCAR BRASI" "PN      N1" "   " "R$  "
    "0000000001234" "0000000001299" "0000000001200" "0000000001250" "0000000001260" "0000000001259" "0000000001261"
    "00042" "000000000000012300" "000000000015375000" "0000000000000" "0" "99991231" "0000001" "0000000000000"
    "BRABCDACNPR7" "123"
)  # fmt: skip

OPTION = (
    "01" "20260105" "78" "ABCDA130    " "070" "ABCD        " "PN      N1" "000" "R$  "
    "0000000000055" "0000000000060" "0000000000050" "0000000000055" "0000000000058" "0000000000000" "0000000000000"
    "00007" "000000000000000700" "000000000000038500" "0000000001300" "0" "20260116" "0001000" "0000000001300"
    "BRABCDACNPR7" "123"
)  # fmt: skip


def tail(count: int) -> str:
    return f"99COTAHIST.2026BOVESPA 20260105{count:011}".ljust(245)


def changed(start: int, text: str) -> str:
    return QUOTE[:start] + text + QUOTE[start + len(text) :]


def read(lines: Sequence[str], ticker: str | None = None, end: str = "\r\n") -> list[DailyQuote]:
    content = end.join([*lines, ""]).encode("latin-1")
    return list(read_cotahist(open_cotahist(content), ticker))


def packed(*members: tuple[str, bytes]) -> bytes:
    into = io.BytesIO()
    with zipfile.ZipFile(into, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return into.getvalue()


def test_a_share_is_read_with_every_figure_at_its_place() -> None:
    assert read([HEAD, QUOTE, tail(3)]) == [
        DailyQuote(
            day=date(2026, 1, 5),
            ticker="ABCD4",
            bdi_code="02",
            market=10,
            company="AÇÚCAR BRASI",
            specification="PN N1",
            term_days=None,
            currency="R$",
            open=Decimal("12.34"),
            high=Decimal("12.99"),
            low=Decimal("12.00"),
            average=Decimal("12.50"),
            close=Decimal("12.60"),
            best_bid=Decimal("12.59"),
            best_ask=Decimal("12.61"),
            trades=42,
            quantity=12300,
            volume=Decimal("153750.00"),
            strike=Decimal("0.00"),
            expires_on=None,
            quotation_factor=1,
            isin="BRABCDACNPR7",
            distribution=123,
        )
    ]


def test_an_option_has_a_strike_price_a_term_and_a_day_of_expiry() -> None:
    option = read([HEAD, QUOTE, OPTION, tail(4)])[1]
    assert (option.ticker, option.market, option.term_days) == ("ABCDA130", 70, 0)
    assert (option.strike, option.expires_on, option.quotation_factor) == (Decimal("13.00"), date(2026, 1, 16), 1000)


def test_one_ticker_is_found_by_its_whole_name() -> None:
    lines = [HEAD, QUOTE, OPTION, tail(4)]
    assert [quote.ticker for quote in read(lines, "ABCD4")] == ["ABCD4"]
    assert read(lines, "ABCD") == []
    assert read(lines, "ação♥") == []


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lines_may_end_as_on_unix_or_windows_and_an_end_of_file_mark_is_ignored(end: str) -> None:
    assert len(read([HEAD, QUOTE, tail(3), "\x1a"], end=end)) == 1


def test_a_zip_archive_is_read_like_the_text_in_it() -> None:
    text = "\r\n".join([HEAD, QUOTE, tail(3), ""]).encode("latin-1")
    content = packed(("COTAHIST_D05012026.TXT", text))
    assert [quote.close for quote in read_cotahist(open_cotahist(content))] == [Decimal("12.60")]


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ([], "line 0: the file ends without its trailer"),
        ([HEAD, QUOTE], "line 2: the file ends without its trailer (type 99); it is cut short"),
        ([HEAD, QUOTE[:200]], "line 2: is 200 characters long, not 245"),
        ([HEAD, QUOTE + " ", tail(3)], "line 2: is 246 characters long, not 245"),
        ([QUOTE, tail(2)], "line 1: the header (type 00) must come first, and once"),
        ([HEAD, HEAD, tail(3)], "line 2: the header (type 00) must come first, and once"),
        ([HEAD.replace("COTAHIST", "COTATEST"), tail(2)], "line 1: the file is called b'COTATEST', not COTAHIST"),
        ([HEAD, "02" + QUOTE[2:], tail(3)], "line 2: has the record type '02'; known: 00, 01, 99"),
        ([HEAD, QUOTE, tail(4)], "line 3: the trailer counts 4 records, the file has 3"),
        ([HEAD, QUOTE, tail(3)[:31].ljust(245)], "line 3: the total of records is '           ', not digits"),
        ([HEAD, tail(2), QUOTE], "line 3: stands after the trailer"),
        ([HEAD, changed(108, "00000000012,6"), tail(3)], "line 2: the last price is '00000000012,6', not digits"),
        ([HEAD, changed(2, "20261305"), tail(3)], "line 2: the date of the trading day is '20261305', no date"),
        ([HEAD, changed(24, "¹²³"), tail(3)], "line 2: the type of market is '¹²³', not digits"),
    ],
)  # fmt: skip
def test_what_is_no_whole_file_is_refused_with_its_line(lines: list[str], problem: str) -> None:
    with pytest.raises(CotahistInvalid) as caught:
        read(lines)
    assert str(caught.value).startswith(f"COTAHIST {problem}")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"PK\x03\x04 and no more", "the archive is damaged"),
        (packed(("a.txt", b""), ("b.txt", b"")), "the archive holds 2 files, not one"),
        (packed(("a.txt", b"x" * 5000))[:60] + b"broken", "the archive is damaged"),
    ],
    ids=["no more than its mark", "two files", "cut short"],
)
def test_a_damaged_archive_is_refused(content: bytes, problem: str) -> None:
    with pytest.raises(CotahistInvalid, match=problem):
        list(read_cotahist(open_cotahist(content)))


def test_a_line_without_an_end_does_not_fill_the_memory() -> None:
    content = packed(("a.txt", b"0" * 20_000_000))
    assert max(len(line) for line in open_cotahist(content)) <= 2 * 64 * 1024
    with pytest.raises(CotahistInvalid, match="line 1: is 131072 characters long"):
        list(read_cotahist(open_cotahist(content)))
