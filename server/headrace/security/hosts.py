"""By which names an endpoint may be addressed, and which pages may have a browser call it.

A web page can have its own name point to this machine's loopback (DNS rebinding): the browser then takes the
server for the page's own and lets the page call it. The Host header still has the page's name. Without that a
page may still have the browser send what it does not get to read the answer of; Origin then has its name.
"""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from ipaddress import ip_address

from headrace.errors import PermissionDenied
from headrace.settings.endpoints import is_loopback

MAX_REMEMBERED = 1024
MAX_SHOWN_HOST = 128


class Hosts:
    """Knows the names that `allowed` has as patterns; with none, those that fit the address listened on."""

    def __init__(self, allowed: Sequence[str], address: str) -> None:
        self._patterns = tuple(pattern.lower() for pattern in allowed)
        self._takes_any = not allowed and not is_loopback(address)
        self._remembered: set[str] = set()

    def check(self, host: str | None) -> None:
        """PermissionDenied where the Host header `host` has a name that is none of the server's.

        Clients that send none are no browsers.
        """
        if self._takes_any or host is None or host in self._remembered:
            return
        if not self._fits(_name_of(host.lower())):
            expected = "one" if self._patterns else "a local name, an IP address, or one"
            raise PermissionDenied(
                f"the server is not known as '{host[:MAX_SHOWN_HOST]}': expected {expected} of "
                "http.allowed_hosts"
            )
        if len(self._remembered) < MAX_REMEMBERED:
            self._remembered.add(host)

    def check_origin(self, origin: str, host: str | None) -> None:
        """PermissionDenied where a page of `origin` is neither the server's own nor of an allowed name."""
        name = origin.partition("://")[2]
        if name and host is not None and name.lower() == host.lower():
            return
        if not self._is_allowed(_name_of(name.lower())):
            raise PermissionDenied(
                f"pages of '{origin[:MAX_SHOWN_HOST]}' may not call this server (http.allowed_hosts)"
            )

    def _fits(self, name: str) -> bool:
        return self._is_allowed(name) if self._patterns else _is_local(name)

    def _is_allowed(self, name: str) -> bool:
        return any(fnmatchcase(name, pattern) for pattern in self._patterns)


def _name_of(host: str) -> str:
    """`host` without its port."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _is_local(name: str) -> bool:
    """True for what no stranger can have point here: addresses, and names without a domain."""
    if "." not in name or name.endswith(".localhost"):
        return True
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
