"""By which names a server may be addressed."""

import pytest

from headrace.errors import PermissionDenied
from headrace.security.hosts import MAX_REMEMBERED, Hosts

LOCAL = [
    *("localhost", "LOCALHOST:8000", "127.0.0.1", "127.0.0.1:8000", "[::1]", "[::1]:8000", "headrace:8000"),
    *("10.1.2.3:80", "app.localhost", ""),
]
STRANGE = ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "localhost.evil.example:80", "a.b"]


@pytest.mark.parametrize("host", LOCAL)
@pytest.mark.parametrize("address", ["127.0.0.1", "localhost", "::1", "[::1]"])
def test_local_names_reach_a_loopback(host, address):
    Hosts((), address).check(host)


@pytest.mark.parametrize("host", STRANGE)
def test_a_name_that_a_stranger_can_have_point_here_does_not(host):
    with pytest.raises(PermissionDenied, match=r"not known as .* http\.allowed_hosts") as caught:
        Hosts((), "127.0.0.1").check(host)
    assert host in str(caught.value)


@pytest.mark.parametrize("host", [*LOCAL, *STRANGE])
def test_any_name_reaches_what_other_machines_reach(host):
    Hosts((), "0.0.0.0").check(host)


def test_where_names_are_allowed_only_they_are():
    hosts = Hosts(("Models.Example", "*.ours.example"), "127.0.0.1")
    for host in ("models.example", "MODELS.example:443", "a.ours.example"):
        hosts.check(host)
        hosts.check(host)
    for host in ("localhost", "ours.example", "models.example.evil", "127.0.0.1"):
        with pytest.raises(PermissionDenied):
            hosts.check(host)


@pytest.mark.parametrize(
    ("origin", "host", "is_own"),
    [
        ("http://models:8000", "models:8000", True),
        ("HTTPS://Models.Example", "models.example", True),
        ("https://models.example", "models.example:8000", False),
        ("http://evil.example", "10.0.0.7:8000", False),
        ("null", "localhost:8000", False),
        ("http://localhost:9000", "localhost:8000", False),
        ("http://localhost", None, False),
        ("", "localhost", False),
    ],
)
def test_only_the_servers_own_pages_may_have_a_browser_change_anything(origin, host, is_own):
    hosts = Hosts((), "0.0.0.0")
    if is_own:
        hosts.check_origin(origin, host)
    else:
        with pytest.raises(PermissionDenied, match=r"may not call this server \(http\.allowed_hosts\)"):
            hosts.check_origin(origin, host)


def test_pages_of_allowed_names_may_call():
    Hosts(("*.ours.example",), "0.0.0.0").check_origin("https://a.ours.example:8443", "models:8000")


def test_clients_without_the_header_are_no_browsers():
    Hosts(("only.example",), "127.0.0.1").check(None)


def test_a_long_name_is_quoted_in_part_and_few_are_remembered():
    hosts = Hosts((), "127.0.0.1")
    with pytest.raises(PermissionDenied) as caught:
        hosts.check("x" * 10_000 + ".example")
    assert len(str(caught.value)) < 400
    for number in range(2 * MAX_REMEMBERED):
        hosts.check(f"host{number}")
    assert len(hosts._remembered) == MAX_REMEMBERED
