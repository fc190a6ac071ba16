from __future__ import annotations

import asyncio
import gzip
import json
import logging
import socket
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from mainspring.clock import ManualClock, SystemClock
from mainspring.errors import MainspringError
from mainspring.pack import (
    HostPolicy,
    HttpAnswerInvalid,
    HttpClient,
    HttpConnectionFailed,
    HttpError,
    HttpRedirectRefused,
    HttpStatusError,
    HttpTimeout,
    ResponseTooLarge,
    UrlInvalid,
    safe_url,
)

T = TypeVar("T")

BRISK = (HostPolicy(rate=10_000, burst=1_000, concurrency=100),)
SOON = timedelta(milliseconds=80)


@pytest.fixture(scope="module")
def running_server() -> Iterator[HTTPServer]:
    with HTTPServer(host="127.0.0.1", threaded=True) as running:
        yield running


@pytest.fixture
def server(running_server: HTTPServer) -> Iterator[HTTPServer]:
    yield running_server
    running_server.clear()


def ask(call: Callable[[HttpClient], Awaitable[T]], **options: Any) -> T:
    async def main() -> T:
        async with HttpClient(SystemClock(), **{"policies": BRISK, **options}) as client:
            return await call(client)

    return asyncio.run(main())


def test_importing_the_door_does_not_import_the_http_library() -> None:
    code = "import sys, mainspring.pack as door; door.HttpClient; print('httpx2' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "False\n"


def test_an_answer_carries_status_headers_text_and_json(server: HTTPServer) -> None:
    server.expect_request("/a").respond_with_data('{"é": 1.10}', content_type="application/json; charset=utf-8")
    response = ask(lambda client: client.get(server.url_for("/a")))
    assert (response.status, response.host, response.text) == (200, "127.0.0.1", '{"é": 1.10}')
    assert response.json() == {"é": 1.1}
    assert response.headers["content-type"] == "application/json; charset=utf-8"
    assert response.elapsed > timedelta()


def test_text_is_read_in_the_character_set_that_the_answer_names(server: HTTPServer) -> None:
    server.expect_request("/latin").respond_with_data(
        "ação".encode("latin-1"), content_type="text/csv; charset=ISO-8859-1"
    )
    server.expect_request("/odd").respond_with_data(b"\xff!", content_type="text/csv; charset=klingon")
    assert ask(lambda client: client.get(server.url_for("/latin"))).text == "ação"
    assert ask(lambda client: client.get(server.url_for("/odd"))).text == "\ufffd!"


def test_parameters_join_the_query_and_those_without_value_are_left_away(server: HTTPServer) -> None:
    seen: list[str] = []
    server.expect_request("/q").respond_with_handler(lambda request: (seen.append(request.full_path), Response("x"))[1])
    ask(lambda client: client.get(server.url_for("/q?a=1"), {"b": "x y", "c": None, "d": 2}))
    assert seen == ["/q?a=1&b=x+y&d=2"]


def test_the_user_agent_of_the_settings_is_sent_and_cookies_are_not_kept(server: HTTPServer) -> None:
    seen: list[tuple[str | None, str | None]] = []

    def answer(request: Request) -> Response:
        seen.append((request.headers.get("user-agent"), request.headers.get("cookie")))
        return Response("ok", headers={"set-cookie": "a=b"})

    server.expect_request("/").respond_with_handler(answer)

    async def twice(client: HttpClient) -> None:
        await client.get(server.url_for("/"))
        await client.get(server.url_for("/"))

    ask(twice, user_agent="me/1 (+mailto:me@example.com)")
    assert seen == [("me/1 (+mailto:me@example.com)", None)] * 2


def test_post_json_sends_json_and_reads_json(server: HTTPServer) -> None:
    server.expect_request("/p", method="POST", json={"q": "ação"}).respond_with_json({"ok": True})
    assert ask(lambda client: client.post_json(server.url_for("/p"), {"q": "ação"})) == {"ok": True}


def test_an_error_status_carries_retry_after_and_the_start_of_the_body(server: HTTPServer) -> None:
    server.expect_request("/busy").respond_with_data("x" * 9000, status=503, headers={"retry-after": "120"})
    with pytest.raises(HttpStatusError) as caught:
        ask(lambda client: client.get(server.url_for("/busy?token=s3cret&n=1")))
    error = caught.value
    assert (error.status, error.retry_after, error.permanent) == (503, timedelta(minutes=2), False)
    assert error.url == server.url_for("/busy?token=***&n=1")
    assert str(error) == f"{error.url}: answered with status 503 (retry after 120 s)"
    assert 0 < len(error.body) <= 2048
    assert isinstance(error, HttpError)
    assert isinstance(error, MainspringError)


@pytest.mark.parametrize(
    ("status", "permanent"),
    [
        (400, True),
        (401, False),
        (404, True),
        (408, False),
        (410, True),
        (422, True),
        (425, False),
        (429, False),
        (500, False),
    ],
)
def test_only_statuses_that_will_come_again_are_permanent(status: int, permanent: bool) -> None:
    assert HttpStatusError("http://a.example/", status).permanent is permanent


@pytest.mark.parametrize(
    ("header", "wait"),
    [
        ("7", timedelta(seconds=7)),
        ("Thu, 01 Jan 2026 00:01:30 GMT", timedelta(seconds=90)),
        ("Wed, 31 Dec 2025 23:00:00 GMT", timedelta()),
        ("-5", None),
        ("soon", None),
        ("99999999999", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(server: HTTPServer, header: str, wait: timedelta | None) -> None:
    server.expect_request("/").respond_with_data("", status=429, headers={"retry-after": header})

    async def main() -> None:
        async with HttpClient(ManualClock(datetime(2026, 1, 1, tzinfo=UTC)), policies=BRISK) as client:
            await client.get(server.url_for("/"))

    with pytest.raises(HttpStatusError) as caught:
        asyncio.run(main())
    assert caught.value.retry_after == wait


def test_a_server_that_never_answers_is_a_timeout(server: HTTPServer) -> None:
    release = threading.Event()
    server.expect_request("/").respond_with_handler(lambda _: (release.wait(30), Response("late"))[1])
    try:
        with pytest.raises(HttpTimeout, match=r"no complete answer within 0\.08 s"):
            ask(lambda client: client.get(server.url_for("/"), timeout=SOON))
    finally:
        release.set()


def test_a_server_that_stops_in_the_middle_is_a_timeout_too(server: HTTPServer) -> None:
    release = threading.Event()

    def parts() -> Iterator[bytes]:
        yield b"one"
        release.wait(30)
        yield b"two"

    server.expect_request("/").respond_with_handler(lambda _: Response(parts()))
    try:
        with pytest.raises(HttpTimeout):
            ask(lambda client: client.get(server.url_for("/")), timeout=SOON)
    finally:
        release.set()


def test_a_port_without_a_server_is_a_failed_connection() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/"
    with pytest.raises(HttpConnectionFailed, match="the connection failed"):
        ask(lambda client: client.get(url))


def test_an_answer_that_breaks_off_is_a_failed_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nonly this")

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(HttpConnectionFailed):
            ask(lambda client: client.get(f"http://127.0.0.1:{listener.getsockname()[1]}/"))
        thread.join()


def test_a_large_answer_is_refused_as_soon_as_it_is_too_large(server: HTTPServer) -> None:
    server.expect_request("/").respond_with_data(b"x" * 1001)
    with pytest.raises(ResponseTooLarge, match="larger than 1000 bytes"):
        ask(lambda client: client.get(server.url_for("/"), max_bytes=1000))
    assert len(ask(lambda client: client.get(server.url_for("/"), max_bytes=1001)).content) == 1001


def test_a_compressed_bomb_is_refused_by_what_it_unpacks_to(server: HTTPServer) -> None:
    bomb = gzip.compress(b"\x00" * 30_000_000)
    assert len(bomb) < 40_000
    server.expect_request("/").respond_with_data(bomb, headers={"content-encoding": "gzip"})
    with pytest.raises(ResponseTooLarge):
        ask(lambda client: client.get(server.url_for("/"), max_bytes=100_000))


@pytest.mark.parametrize(
    ("content", "encoding", "problem"),
    [
        (gzip.compress(b"a" * 5000, mtime=0)[:-8], "gzip", "cut short"),
        (b"this is not gzip", "gzip", "damaged"),
        (b"abc", "br", "compressed with 'br', which was not asked for"),
    ],
)
def test_damaged_compression_is_named(server: HTTPServer, content: bytes, encoding: str, problem: str) -> None:
    server.expect_request("/").respond_with_data(content, headers={"content-encoding": encoding})
    with pytest.raises(HttpAnswerInvalid, match=problem):
        ask(lambda client: client.get(server.url_for("/")))


def test_compressed_answers_of_several_members_and_none_are_read(server: HTTPServer) -> None:
    two = gzip.compress(b"one ") + gzip.compress(b"two")
    server.expect_request("/two").respond_with_data(two, headers={"content-encoding": "gzip"})
    server.expect_request("/none").respond_with_data(b"", headers={"content-encoding": "gzip"})
    assert ask(lambda client: client.get(server.url_for("/two"))).content == b"one two"
    assert ask(lambda client: client.get(server.url_for("/none"))).content == b""


@pytest.mark.parametrize("content", [b"<html>", b"", b'{"a": NaN}', b"[" * 100_000, b"\xff\xfe\x00"])
def test_what_is_not_json_is_named_with_its_url_and_type(server: HTTPServer, content: bytes) -> None:
    server.expect_request("/").respond_with_data(content, content_type="text/html")
    with pytest.raises(HttpAnswerInvalid, match=r"/: the answer \(text/html\) is not JSON"):
        ask(lambda client: client.get_json(server.url_for("/")))


def test_redirects_are_followed_on_the_same_host(server: HTTPServer) -> None:
    server.expect_request("/old").respond_with_data("", status=302, headers={"location": "/new?x=1"})
    server.expect_request("/new").respond_with_data("here")
    response = ask(lambda client: client.get(server.url_for("/old")))
    assert (response.text, response.url) == ("here", server.url_for("/new?x=1"))


@pytest.mark.parametrize(
    ("location", "problem"),
    [
        ("http://elsewhere.example/?key=abc", r"redirected to another host: http://elsewhere\.example/\?key=\*\*\*"),
        ("http://127.0.0.1:1/", "redirected to another host"),
        ("/loop", "redirected more than 5 times"),
        ("file:///etc/passwd", "no absolute http or https URL"),
    ],
)
def test_redirects_elsewhere_and_in_circles_are_refused(server: HTTPServer, location: str, problem: str) -> None:
    server.expect_request("/loop").respond_with_data("", status=302, headers={"location": location})
    with pytest.raises(HttpError, match=problem):
        ask(lambda client: client.get(server.url_for("/loop")))


def test_a_post_is_not_repeated_elsewhere(server: HTTPServer) -> None:
    server.expect_request("/p").respond_with_data("", status=307, headers={"location": "/q"})
    with pytest.raises(HttpRedirectRefused, match="redirected a POST"):
        ask(lambda client: client.post_json(server.url_for("/p"), {}))


@pytest.mark.parametrize(
    "url", ["ftp://a/", "/relative", "http://", "http://[::1", "http://a:99999/", "file:///etc/passwd"]
)
def test_only_absolute_http_urls_are_asked(url: str) -> None:
    with pytest.raises(UrlInvalid):
        ask(lambda client: client.get(url))


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://user:pass@api.example:8443/x?api_key=1&q=PETR4#f", "https://api.example:8443/x?api_key=***&q=PETR4"),
        ("https://a.example/?access_token=a%20b&Signature=c", "https://a.example/?access_token=***&Signature=***"),
        ("http://[::1]:80/", "http://[::1]:80/"),
        ("http://[bad", "(unreadable URL)"),
    ],
)
def test_urls_are_shown_without_their_secrets(url: str, shown: str) -> None:
    assert safe_url(url) == shown


def test_the_log_of_the_http_library_shows_no_secrets(server: HTTPServer, caplog: pytest.LogCaptureFixture) -> None:
    server.expect_request("/").respond_with_data("ok")
    with caplog.at_level(logging.DEBUG):
        ask(lambda client: client.get(server.url_for("/?token=s3cret")))
    ours = " ".join(record.getMessage() for record in caplog.records if record.name.startswith(("httpx2", "httpcore2")))
    assert "token=***" in ours
    assert "s3cret" not in ours


def test_one_client_serves_one_loop_but_may_be_used_again_when_that_has_closed(server: HTTPServer) -> None:
    server.expect_request("/").respond_with_data("ok")
    client = HttpClient(SystemClock(), policies=BRISK)

    async def use_and_close() -> str:
        async with client:
            return (await client.get(server.url_for("/"))).text

    assert [asyncio.run(use_and_close()), asyncio.run(use_and_close())] == ["ok", "ok"]

    async def steal() -> None:
        await client.get(server.url_for("/"))
        with pytest.raises(MainspringError, match="serves one event loop"):
            await asyncio.to_thread(asyncio.run, client.get(server.url_for("/")))
        await client.aclose()

    asyncio.run(steal())


def test_a_host_is_asked_by_no_more_at_a_time_than_its_policy_allows(server: HTTPServer) -> None:
    lock, gate = threading.Lock(), threading.Event()
    under_way: list[int] = [0, 0]

    def answer(_: Request) -> Response:
        with lock:
            under_way[0] += 1
            under_way[1] = max(under_way)
            if under_way[0] == 3:
                gate.set()
        gate.wait(10)
        with lock:
            under_way[0] -= 1
        return Response(json.dumps({}))

    server.expect_request("/").respond_with_handler(answer)
    policy = HostPolicy("127.*", rate=10_000, burst=1_000, concurrency=3)

    async def many(client: HttpClient) -> None:
        await asyncio.gather(*(client.get(server.url_for("/")) for _ in range(12)))

    ask(many, policies=(policy,))
    assert under_way == [0, 3]
