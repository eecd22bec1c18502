"""Callers whose certificate has been revoked are refused on every port, on open connections too."""

import http.client
import json
import ssl
import subprocess
import sys
import time
from contextlib import ExitStack

import grpc
import pytest

from support import onnx_models
from support.auditing import records
from support.certificates import DAY, Authority
from support.server import READY, SERVER_READY, ServerProcess

SOON_S = 10.0
# How long a new list may take to hold: RELOAD, and what a busy machine adds.
WITHIN_S = 2.0
RELOAD = "--tls-reload-interval-s=0.2"
INFER = json.dumps(
    {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}]}
).encode()
MODEL_INFER = "/inference.GRPCInferenceService/ModelInfer"
SERVER_METADATA = "/inference.GRPCInferenceService/ServerMetadata"
HEALTH = "/grpc.health.v1.Health/Check"
STREAM = "/inference.GRPCInferenceService/ModelStreamInfer"
# ModelInferRequest of a model that is not there: answered with NOT_FOUND to whoever may ask.
NO_MODEL = b"\x0a\x04nixx"
OK, NOT_FOUND, REFUSED = (
    grpc.StatusCode.OK,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.UNAUTHENTICATED,
)


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    folder = tmp_path_factory.mktemp("repository")
    onnx_models.write_models(folder, "identity_fp32")
    return folder


class Place:
    """Servers with the same files: their certificate, the authority of callers, and its list."""

    def __init__(self, repository, folder):
        self.authority = Authority(folder)
        self.callers = Authority(folder, "callers")
        self.crl = folder / "revoked.crl"
        self._repository = repository
        self._pair = self.authority.sign("server")

    @property
    def arguments(self):
        return (
            f"--tls-certificate={self._pair.certificate}",
            f"--tls-key={self._pair.key}",
            f"--tls-client-ca={self.callers.file}",
            f"--tls-client-crl={self.crl}",
            RELOAD,
        )

    def serve(self, *arguments):
        return ServerProcess(self._repository, *self.arguments, *arguments, is_encrypted=True)

    def revoke(self, *files, **options):
        self.write(self.callers.revocations(*files, **options))

    def write(self, content):
        """In one step, so that nobody reads the half of it."""
        new = self.crl.with_suffix(".new")
        new.write_bytes(content)
        new.replace(self.crl)


@pytest.fixture
def place(repository, tmp_path):
    return Place(repository, tmp_path)


class Client:
    """A caller with a certificate; its connections stay open, but for that to the metrics."""

    def __init__(self, server, place, own):
        self._trusting = ssl.create_default_context(cafile=place.authority.file)
        self._trusting.load_cert_chain(own.certificate, own.key)
        self._metrics_port = server.metrics_port
        self._http = http.client.HTTPSConnection(server.http_url, context=self._trusting, timeout=SOON_S)
        credentials = grpc.ssl_channel_credentials(
            place.authority.file.read_bytes(), own.key.read_bytes(), own.certificate.read_bytes()
        )
        options = (("grpc.use_local_subchannel_pool", 1),)
        self._channel = grpc.secure_channel(server.grpc_url, credentials, options)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._http.close()
        self._channel.close()

    def ask(self, path, body=None):
        """The status and the body of an answer over HTTP."""
        return _asked(self._http, path, body)

    @property
    def http_socket(self):
        return self._http.sock

    def scrape(self):
        address = f"127.0.0.1:{self._metrics_port}"
        connection = http.client.HTTPSConnection(address, context=self._trusting, timeout=SOON_S)
        try:
            return _asked(connection, "/metrics", None)
        finally:
            connection.close()

    def call(self, path, data=b""):
        """The status of a call, and its answer or message."""
        try:
            return OK, self._channel.unary_unary(path)(data, timeout=SOON_S)
        except grpc.RpcError as error:
            return error.code(), error.details()

    def stream(self):
        try:
            list(self._channel.stream_stream(STREAM)(iter(()), timeout=SOON_S))
        except grpc.RpcError as error:
            return error.code()
        return OK

    def statuses(self):
        """Of inference, probes and control over HTTP, the same over gRPC, and a scrape."""
        return (
            self.ask("/v2/models/identity_fp32/infer", INFER)[0],
            self.ask("/v2/health/live")[0],
            self.ask("/v2/health/ready")[0],
            self.ask("/v2")[0],
            self.call(MODEL_INFER, NO_MODEL)[0],
            self.call(SERVER_READY)[0],
            self.call(HEALTH)[0],
            self.call(SERVER_METADATA)[0],
            self.stream(),
            self.scrape()[0],
        )


def _asked(connection, path, body):
    connection.request("POST" if body else "GET", path, body)
    answer = connection.getresponse()
    return answer.status, answer.read()


LET_IN = (200, 200, 200, 200, NOT_FOUND, OK, OK, OK, OK, 200)
TURNED_AWAY = (401, 401, 401, 401, REFUSED, REFUSED, REFUSED, REFUSED, REFUSED, 401)


def wait_until(is_so):
    ends_at = time.monotonic() + WITHIN_S
    while not is_so():
        assert time.monotonic() < ends_at
        time.sleep(0.05)


def test_a_revoked_certificate_is_refused_everywhere_and_a_good_one_is_not(place):
    bob, alice = place.callers.sign("bob"), place.callers.sign("alice")
    place.revoke(bob)
    with place.serve() as server:
        with Client(server, place, bob) as revoked, Client(server, place, alice) as good:
            assert revoked.statuses() == TURNED_AWAY
            assert good.statuses() == LET_IN
            words = "the certificate has been revoked"
            assert json.loads(revoked.ask("/v2")[1]) == {"error": words}
            assert revoked.call(SERVER_READY) == (REFUSED, words)
            assert revoked.scrape() == (401, f"{words}\n".encode())
            assert good.call(SERVER_READY) == (OK, READY)
            lines = good.scrape()[1].decode().splitlines()
        (refused,) = [line for line in lines if "headrace_rejected_total" in line and "unauth" in line]
        assert int(float(refused.split()[-1])) == len(TURNED_AWAY) + 3
        assert server.terminate() == 0
        assert "Traceback" not in server.log
        denied = [each for each in records(server.state_dir) if each["reason"].startswith(words)]
        assert all("(certificate of 'bob', serial number " in each["reason"] for each in denied)
        assert denied and {each["action"] for each in denied} == {"authenticate"}


def test_a_list_that_is_replaced_holds_on_open_connections(place):
    bob, alice = place.callers.sign("bob"), place.callers.sign("alice")
    place.revoke()
    with place.serve() as server, Client(server, place, bob) as first, Client(server, place, alice) as second:
        assert first.statuses() == second.statuses() == LET_IN
        connection = first.http_socket
        place.revoke(bob)
        wait_until(lambda: first.ask("/v2")[0] == 401)
        assert first.statuses() == TURNED_AWAY
        assert first.http_socket is connection
        assert second.statuses() == LET_IN
        place.revoke(alice)
        wait_until(lambda: second.ask("/v2")[0] == 401)
        assert first.statuses() == LET_IN
        assert second.statuses() == TURNED_AWAY


def test_a_list_that_does_not_do_leaves_the_one_before_it(place):
    bob = place.callers.sign("bob")
    place.revoke(bob)
    with place.serve() as server, Client(server, place, bob) as revoked:
        breaks = (b"x", place.crl.read_bytes()[:-40], place.authority.revocations(), None)
        for count, broken in enumerate(breaks, 1):
            if broken is None:
                place.crl.unlink()
            else:
                place.write(broken)
            wait_until(lambda count=count: server.log.count("the revocation lists in use stay") == count)
            assert revoked.statuses() == TURNED_AWAY
        place.revoke()
        wait_until(lambda: revoked.ask("/v2")[0] == 200)
        assert revoked.statuses() == LET_IN


def test_an_overdue_list_holds_and_is_warned_of_once(place):
    bob, alice = place.callers.sign("bob"), place.callers.sign("alice")
    place.revoke(bob, lasts=-DAY)
    with place.serve() as server, ExitStack() as stack:
        revoked, good = (stack.enter_context(Client(server, place, each)) for each in (bob, alice))
        assert (revoked.statuses(), good.statuses()) == (TURNED_AWAY, LET_IN)
        time.sleep(1)  # some reloads
        assert server.log.count("was to be replaced by") == 1


def test_roles_do_not_help_a_revoked_certificate(place, tmp_path):
    bob, alice = place.callers.sign("bob"), place.callers.sign("alice")
    place.revoke(bob)
    access = {
        "roles": {"all": {"infer": ["*"], "read": ["*"], "control": ["*"], "admin": True}},
        "certificates": [{"name": name, "roles": ["all"]} for name in ("bob", "alice")],
    }
    path = tmp_path / "access.yaml"
    path.write_text(json.dumps(access))  # JSON is YAML
    with place.serve(f"--access-file={path}") as server, ExitStack() as stack:
        revoked, good = (stack.enter_context(Client(server, place, each)) for each in (bob, alice))
        assert (revoked.statuses(), good.statuses()) == (TURNED_AWAY, LET_IN)


def test_a_list_that_does_not_do_is_named_at_the_start(place):
    place.write(place.authority.revocations())
    ended = subprocess.run(
        (sys.executable, "-m", "headrace.cli.main", "serve", *place.arguments),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 1
    assert "list 1 is of 'CN=authority', which is none of the authorities in tls.client_ca" in ended.stderr
