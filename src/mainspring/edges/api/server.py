"""Serve the interface until told to stop: a thread of the process that also schedules."""

from __future__ import annotations

import logging
import os
import threading
from typing import Final

import uvicorn

from mainspring.app import Application
from mainspring.edges.api.app import make_app
from mainspring.edges.api.security import Gate
from mainspring.edges.listening import Listening, bind, is_loopback
from mainspring.errors import InvalidInput
from mainspring.services.accounts import Accounts, local_principal

_log = logging.getLogger("mainspring.api")
_BACKLOG: Final = 512
_GRACE: Final = 5


class ApiServer:
    """The interface on a port; `start` and `stop` may be called from any thread."""

    def __init__(self, application: Application, listening: Listening, actor: str) -> None:
        """Prepare to serve; *actor* is this machine's user, who is everybody where accounts are switched off."""
        self._application, self._listening, self._actor = application, listening, actor
        self._accounts = Accounts(application.database, application.clock)
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None
        self.address = listening.address(listening.port)

    def start(self) -> str | None:
        """Begin to listen; return the one-time link of the first administrator where there was no account.

        Raises:
            InvalidInput: nobody has an account and others could reach it, or accounts are switched off and they could.
            StoreUnavailable: the port is taken.
        """
        listening = self._listening
        bound = bind(listening.host, listening.port)
        try:
            secret = self._first_admin()
        except BaseException:
            bound.close()
            raise
        self.address = listening.address(bound.getsockname()[1])
        secure = self.address.startswith("https:")
        local = None if listening.auth else local_principal(self._actor)
        app = make_app(self._application, Gate(self._accounts, local, listening.hosts, secure))
        config = uvicorn.Config(
            app, http="httptools", ws="none", lifespan="off", log_config=None, access_log=False, server_header=False,
            date_header=False, root_path=listening.base_path, backlog=_BACKLOG, timeout_graceful_shutdown=_GRACE,
            proxy_headers=bool(listening.trusted_proxies), forwarded_allow_ips=list(listening.trusted_proxies),
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        arguments = {"sockets": [bound]}
        self._thread = threading.Thread(target=self._server.run, kwargs=arguments, name="mainspring-api", daemon=True)
        self._thread.start()
        _log.info("api_listening address=%s pid=%d auth=%s", self.address, os.getpid(), listening.auth)
        return None if secret is None else f"{self.address}/sign-in#{secret}"

    def stop(self) -> None:
        """Answer what has been asked, and listen no more."""
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._thread.join(_GRACE + 5.0)

    def _first_admin(self) -> str | None:
        host = self._listening.host
        if is_loopback(host):
            return self._accounts.first_admin(self._actor) if self._listening.auth else None
        if not self._listening.auth:
            raise InvalidInput(f"without accounts the interface is served on loopback only, not on {host}")
        self._accounts.require_any(host)
        return None
