"""Read RSS and Atom feeds into plain text items."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlsplit

from mainspring.packs.market.scraper import MalformedAnswer

TITLE_LENGTH = 500
SUMMARY_LENGTH = 2000
LINK_LENGTH = 2000


def read_feed(content: bytes, host: str, headers: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
    """Return the items of a feed; texts are plain, links http(s) or None, times ISO in UTC or None.

    Raises:
        MalformedAnswer: when *content* is no feed at all; a feed without items gives none.
    """
    import feedparser

    # The type alone: it names the character set. No address, or relative links would be resolved against it.
    kind = {"content-type": (headers or {}).get("content-type", "")}
    parsed = feedparser.parse(io.BytesIO(content), response_headers=kind)
    if not parsed.get("version"):
        raise MalformedAnswer(host, "feed", f"is neither RSS nor Atom{_reason(parsed)}")
    title = plain_text(parsed.feed.get("title", ""), TITLE_LENGTH)
    items = [_item(entry, title or host) for entry in parsed.entries]
    return [item for item in items if item["title"] or item["url"]]


def plain_text(markup: str, length: int) -> str:
    """Return the words of *markup*: no tags, no scripts, no control characters, single blanks, at most *length*."""
    reader = _Words()
    reader.feed(markup)
    reader.close()
    printable = "".join(char if char.isprintable() else " " for char in "".join(reader.words))
    text = " ".join(printable.split())
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def safe_link(link: str) -> str | None:
    """Return *link* when a browser may follow it: absolute, http or https, without blanks; else None."""
    try:
        parts = urlsplit(link.strip())
    except ValueError:
        return None
    fits = parts.scheme in ("http", "https") and parts.hostname and len(link) <= LINK_LENGTH
    return link.strip() if fits and not re.search(r"\s|[<>\"]", link.strip()) else None


def _item(entry: Any, feed_title: str) -> dict[str, Any]:
    source = entry.get("source") or {}
    return {
        "title": plain_text(entry.get("title", ""), TITLE_LENGTH),
        "url": safe_link(entry.get("link", "")),
        "published_at": _published(entry),
        "source": plain_text(source.get("title", ""), TITLE_LENGTH) or feed_title,
        "summary": plain_text(entry.get("summary", ""), SUMMARY_LENGTH),
    }


def _published(entry: Any) -> str | None:
    # feedparser hands out UTC, whatever zone the feed wrote.
    for key in ("published_parsed", "updated_parsed"):
        # Past feedparser's own get, which warns while it gives one date for the other.
        moment = dict.get(entry, key)
        if moment is not None:
            try:
                return _utc(*moment[:6])
            except (ValueError, TypeError):
                continue
    return None


def _utc(year: int, month: int, day: int, hour: int, minute: int, second: int) -> str:
    # A leap second has no place in a datetime.
    return datetime(year, month, day, hour, minute, min(second, 59), tzinfo=UTC).isoformat()


def _reason(parsed: Any) -> str:
    error = parsed.get("bozo_exception")
    return f" ({error})" if error else ""


class _Words(HTMLParser):
    """Collects text; what stands in script and style is none."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.words: list[str] = []
        self._silent = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._silent += tag in ("script", "style")
        self.words.append(" ")

    def handle_endtag(self, tag: str) -> None:
        self._silent -= tag in ("script", "style") and self._silent > 0
        self.words.append(" ")

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.words.append(data)
