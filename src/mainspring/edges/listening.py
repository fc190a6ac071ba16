"""Where the interface listens, and whether it can: known before anything of the web is imported."""

from __future__ import annotations

import errno
import ipaddress
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from mainspring.errors import InvalidInput, StoreUnavailable

if TYPE_CHECKING:
    from mainspring.config.settings import Settings

_LOOPBACK_NAMES: Final = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, slots=True)
class Listening:
    """Where and how to serve."""

    host: str = "127.0.0.1"
    port: int = 8000
    auth: bool = True
    url: str | None = None
    """The address by which people reach it, where a proxy stands in front."""
    base_path: str = ""
    trusted_proxies: tuple[str, ...] = ()

    def address(self, port: int) -> str:
        """Return the address to tell people, *port* being the one that was bound."""
        if self.url is not None:
            return self.url.rstrip("/")
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{port}{self.base_path}"

    @property
    def hosts(self) -> frozenset[str]:
        """The names under which it may be asked; empty where it listens on all and nobody said its name."""
        public = urlsplit(self.url).hostname if self.url is not None else None
        if public is None and not is_loopback(self.host):
            return frozenset()
        return frozenset({*_LOOPBACK_NAMES, self.host.lower(), *([public] if public else [])})


def listening_of(settings: Settings, auth: bool) -> Listening:
    """Return what *settings* say."""
    given = settings.server
    return Listening(given.host, given.port, auth, given.url, given.base_path, given.trusted_proxies)


def check(listening: Listening) -> None:
    """Refuse what cannot be served, before anything is started.

    Raises:
        InvalidInput: it would be open to other machines without accounts.
        StoreUnavailable: the port is taken.
    """
    if not listening.auth and not is_loopback(listening.host):
        raise InvalidInput(
            f"--no-auth serves anybody who can reach {listening.host}; it goes with a loopback address only: leave it "
            "out, or listen on 127.0.0.1"
        )
    bind(listening.host, listening.port).close()


def bind(host: str, port: int) -> socket.socket:
    """Return a socket that is bound to *host* and *port*.

    Raises:
        StoreUnavailable: another program has it, or the machine has no such address.
    """
    try:
        family = socket.AF_INET6 if ipaddress.ip_address(host).version == 6 else socket.AF_INET
    except ValueError:
        family = socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRINUSE:
            raise StoreUnavailable(
                f"port {port} on {host} is taken by another program; choose another with --port"
            ) from error
        raise StoreUnavailable(f"cannot listen on {host}:{port}: {error.strerror}") from error
    return bound


def is_loopback(host: str) -> bool:
    """Return whether *host*, on which a server listens, cannot be reached from other machines."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
