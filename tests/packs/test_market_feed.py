from __future__ import annotations

import pytest

from mainspring.packs.market import MalformedAnswer
from mainspring.packs.market.feed import plain_text, read_feed, safe_link


def rss(items: str, encoding: str = "UTF-8") -> bytes:
    head = f'<?xml version="1.0" encoding="{encoding}"?>'
    text = f'{head}<rss version="2.0"><channel><title>T</title>{items}</channel></rss>'
    return text.encode(encoding)


def dates(*written: str) -> list[str | None]:
    items = "".join(f"<item><title>a</title><pubDate>{text}</pubDate></item>" for text in written)
    return [item["published_at"] for item in read_feed(rss(items), "host")]


def test_dates_come_out_in_utc_whatever_zone_they_were_written_in() -> None:
    assert dates(
        "Wed, 07 Aug 2024 18:00:00 -0300", "Wed, 07 Aug 2024 18:00:00 EST", "2024-08-07T18:00:00Z", "soon"
    ) == [
        "2024-08-07T21:00:00+00:00",
        "2024-08-07T23:00:00+00:00",
        "2024-08-07T18:00:00+00:00",
        None,
    ]


def test_markup_scripts_and_control_characters_are_taken_out() -> None:
    item = read_feed(
        rss(
            "<item><title>&lt;b&gt;Up&lt;/b&gt; &amp;amp; away&#x202e;</title>"
            "<description><![CDATA[<p>One</p><script>alert(1)</script><p>two&nbsp;<img src=x onerror=y></p>]]>"
            "</description>"
            "<link>javascript:alert(1)</link></item>"
        ),
        "host",
    )[0]
    assert item == {"title": "Up & away", "url": None, "published_at": None, "source": "T", "summary": "One two"}


@pytest.mark.parametrize("encoding", ["ISO-8859-1", "windows-1252", "UTF-16"])
def test_feeds_in_other_encodings_are_read(encoding: str) -> None:
    assert read_feed(rss("<item><title>Ação</title></item>", encoding), "host")[0]["title"] == "Ação"


def test_the_character_set_of_the_answer_counts_when_the_feed_names_none() -> None:
    content = "<rss version='2.0'><channel><item><title>Ação</title></item></channel></rss>".encode("latin-1")
    headers = {"content-type": "application/rss+xml; charset=iso-8859-1"}
    assert read_feed(content, "host", headers)[0]["title"] == "Ação"


def test_an_empty_feed_has_no_items_and_a_broken_one_has_those_before_the_break() -> None:
    assert read_feed(rss(""), "host") == []
    assert [item["title"] for item in read_feed(rss("<item><title>a</title></item><item><tit"), "host")][:1] == ["a"]


@pytest.mark.parametrize("content", [b"", b"<html><body>no</body></html>", b'{"a": 1}', b"\x00\x01\x02"])
def test_what_is_no_feed_is_refused(content: bytes) -> None:
    with pytest.raises(MalformedAnswer, match=r"malformed answer of host: field 'feed' is neither RSS nor Atom"):
        read_feed(content, "host")


def test_entities_do_not_reach_files_or_grow() -> None:
    entity = '<!DOCTYPE rss [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
    content = rss("<item><title>a&x;b</title></item>").replace(b"<rss", entity.encode() + b"<rss")
    assert "root" not in str(read_feed(content, "host"))


def test_long_texts_are_cut() -> None:
    assert plain_text("x" * 600, 500) == "x" * 499 + "…"


@pytest.mark.parametrize(
    ("link", "kept"),
    [
        (" https://a.example/x?y=1 ", "https://a.example/x?y=1"),
        ("http://a.example", "http://a.example"),
        ("/relative", None),
        ("data:text/html,x", None),
        ("https://a.example/\"onclick='x", None),
        ("https://a.example/a b", None),
        ("https://[bad", None),
        ("https://a.example/" + "x" * 3000, None),
    ],
)
def test_only_links_that_a_browser_may_follow_are_kept(link: str, kept: str | None) -> None:
    assert safe_link(link) == kept
