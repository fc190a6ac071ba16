"""Take over a changed configuration while running; an invalid one is refused whole and the old one stays in force."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from mainspring.config import difference, reload
from mainspring.config.loading import Loaded, digest_of, read_bytes
from mainspring.errors import MainspringError, StoreUnavailable
from mainspring.services.clock_guard import ClockInDoubt

_log = logging.getLogger("mainspring.configuration")
_EVERY = 1.0


class ConfigurationWatch:
    """Looks once a second whether the configuration changed."""

    def __init__(self, loaded: Loaded, take_over: Callable[[Loaded], str], more: Sequence[Path] = ()) -> None:
        """*take_over* puts a new configuration into force and says what that did; it may refuse it by raising.

        A change of the files *more* counts as a change of the configuration.
        """
        self._loaded, self._take_over, self._more = loaded, take_over, more
        # Of what was loaded, not of what lies there now: a change since then counts.
        self._seen = f"{loaded.digest} {_digest_of(more)}"
        self._refused = ""

    def again(self) -> None:
        """Take the present configuration over as if it had changed: what was loaded could not be put into force."""
        self._seen = ""

    def run_once(self) -> float:
        """Reload if the files changed; return when to look again."""
        digest = self._digest()
        if digest not in (self._seen, self._refused):
            self._reload(digest)
        return _EVERY

    def _digest(self) -> str:
        return f"{_digest_of(self._loaded.watch_paths)} {_digest_of(self._more)}"

    def _reload(self, digest: str) -> None:
        try:
            new = reload(self._loaded)
            said = self._take_over(new)
        except (StoreUnavailable, ClockInDoubt):
            raise  # not the configuration's fault: the same one is tried again
        except MainspringError as error:
            self._refused = digest
            _log.error("configuration_refused; the old one stays in force\n%s", error)
            return
        for line in difference(self._loaded, new):
            _log.info("configuration_changed %s", line)
        _log.info("configuration_reloaded %s", said)
        self._loaded, self._seen, self._refused = new, digest, ""


def _digest_of(paths: Sequence[Path]) -> str:
    return digest_of({path: read_bytes(path)[0] for path in paths})
