"""The commands of the guide work as they stand there, one after the other."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

from mainspring.app import Application
from mainspring.domain.access import Role
from tests.edges.api.arrange import describe
from tests.edges.api.conftest import HOST, Serve

GUIDE = Path(__file__).parents[3] / "docs/guides/rest.md"


def commands() -> list[list[str]]:
    """Return the words of every curl command of the guide."""
    blocks = re.findall(r"```sh\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [shlex.split(line) for line in lines]


def test_every_command_of_the_guide_succeeds(
    serve: Serve, application: Application, key: Callable[..., dict[str, str]]
) -> None:
    describe(application)
    client, secret, run = serve(), key(Role.ADMIN)["Authorization"].removeprefix("Bearer "), ""
    assert len(commands()) >= 24
    for words in commands():
        method, body, url, headers = "GET", None, "", {}
        given = iter(word.replace("$KEY", secret).replace("$RUN", run) for word in words[1:])
        for word in given:
            if word == "-X":
                method = next(given)
            elif word == "-H":
                name, _, value = next(given).partition(": ")
                headers[name] = value
            elif word == "-d":
                body = next(given)
            else:
                url = word
        assert (words[0], url.startswith(HOST)) == ("curl", True), words
        answer = client.request(method, url, content=body, headers=headers)
        assert answer.is_success, (words, answer.text)
        if (method, url) == ("POST", f"{HOST}/api/v1/runs"):
            run = answer.json()["id"]
