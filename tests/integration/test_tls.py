"""TLS on every port: who is let in, and certificates that are replaced while requests come."""

import json
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from datetime import timedelta

import grpc
import pytest

from headrace.security.certificates import Certificates
from headrace.settings import TlsSettings
from support import onnx_models
from support.certificates import DAY, Authority
from support.server import READY, SERVER_READY, ServerProcess

SOON_S = 10.0
ANY_CIPHER = ("-cipher", "ALL:COMPLEMENTOFALL:@SECLEVEL=0")
# No encryption, no authentication, no forward secrecy, or a broken digest.
WEAK = ("eNULL", "aNULL", "kRSA", "SHA1", "MD5", "3DES", "RC4", "EXPORT", "PSK")
RELOAD = "--tls-reload-interval-s=0.2"
INFER = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}]}


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    folder = tmp_path_factory.mktemp("repository")
    onnx_models.write_models(folder, "identity_fp32")
    return folder


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


def install(files, folder):
    """Puts a certificate and its key where the server looks."""
    shutil.copy(files.key, folder / "server.key")
    shutil.copy(files.certificate, folder / "server.pem")


def serve(repository, folder, *arguments, ca=None):
    """A server with the pair in `folder`; ready as soon as its ports take connections."""
    callers = (f"--tls-client-ca={ca}",) if ca else ()
    pair = (f"--tls-certificate={folder / 'server.pem'}", f"--tls-key={folder / 'server.key'}")
    return ServerProcess(repository, *pair, *callers, RELOAD, *arguments, is_encrypted=True)


def context(authority, own=None):
    trusting = ssl.create_default_context(cafile=authority.file)
    if own is not None:
        trusting.load_cert_chain(own.certificate, own.key)
    return trusting


def get(url, trusting):
    with urllib.request.urlopen(f"https://{url}", context=trusting, timeout=SOON_S) as answer:
        return answer.status


def ask_grpc(server, authority, own=None):
    """The answer of ServerReady on a connection of its own."""
    credentials = grpc.ssl_channel_credentials(
        authority.file.read_bytes(),
        own.key.read_bytes() if own else None,
        own.certificate.read_bytes() if own else None,
    )
    options = (("grpc.use_local_subchannel_pool", 1),)
    with grpc.secure_channel(server.grpc_url, credentials, options) as channel:
        return channel.unary_unary(SERVER_READY)(b"", timeout=SOON_S)


def is_let_in(server, authority, own=None):
    """For each port, whether a caller gets an answer."""
    trusting = context(authority, own)
    return [
        _succeeds(lambda: get(f"{server.http_url}/v2/health/ready", trusting) == 200),
        _succeeds(lambda: ask_grpc(server, authority, own) == READY),
        _succeeds(lambda: get(f"127.0.0.1:{server.metrics_port}/metrics", trusting) == 200),
    ]


def _succeeds(ask):
    try:
        return ask()
    except (OSError, grpc.RpcError):
        return False


def names_shown(server, authority):
    """The common name of the certificate that each port shows."""
    names = []
    for port in (server.http_port, server.grpc_port, server.metrics_port):
        pem = ssl.get_server_certificate(("127.0.0.1", port), ca_certs=str(authority.file), timeout=SOON_S)
        shown = subprocess.run(
            ("openssl", "x509", "-noout", "-subject", "-nameopt", "multiline"),
            input=pem,
            capture_output=True,
            text=True,
            check=True,
        )
        names.append(shown.stdout.split()[-1])
    return names


def wait_until(is_so):
    ends_at = time.monotonic() + SOON_S
    while not is_so():
        assert time.monotonic() < ends_at
        time.sleep(0.1)


def test_every_port_speaks_tls_and_nothing_else(repository, authority, tmp_path):
    install(authority.sign("first"), tmp_path)
    with serve(repository, tmp_path) as server:
        assert is_let_in(server, authority) == [True, True, True]
        assert is_let_in(server, Authority(tmp_path, "other")) == [False, False, False]
        with pytest.raises(OSError):
            urllib.request.urlopen(f"http://{server.http_url}/v2", timeout=SOON_S)
        with grpc.insecure_channel(server.grpc_url) as channel, pytest.raises(grpc.RpcError):
            channel.unary_unary(SERVER_READY)(b"", timeout=SOON_S)
        assert server.terminate() == 0


def test_old_protocols_and_weak_ciphers_are_refused(repository, authority, tmp_path):
    install(authority.sign("first"), tmp_path)
    with serve(repository, tmp_path) as server:
        for port in (server.http_port, server.grpc_port, server.metrics_port):
            assert cipher_of(port, "-tls1_2", *ANY_CIPHER) is not None
            for version in ("-tls1", "-tls1_1"):
                assert cipher_of(port, version, *ANY_CIPHER) is None
            assert cipher_of(port, "-tls1_2", "-cipher", f"{':'.join(WEAK)}:@SECLEVEL=0") is None


def cipher_of(port, *options):
    """What a client that takes only `options` agrees on with the port; None where that is nothing."""
    tried = subprocess.run(
        ("openssl", "s_client", *options, "-connect", f"127.0.0.1:{port}"),
        input="",
        capture_output=True,
        text=True,
        timeout=SOON_S,
    )
    (cipher,) = {line.split("Cipher is ")[1] for line in tried.stdout.splitlines() if "Cipher is " in line}
    return None if cipher == "(NONE)" else cipher


def test_only_ciphers_with_forward_secrecy_are_offered(authority):
    """Also with the other kinds of keys, which this test's server has not."""
    server = authority.sign("server")
    offered = Certificates(TlsSettings(server.certificate, server.key)).listener_context().get_ciphers()
    assert len(offered) > 5
    for cipher in offered:
        assert cipher["kea"] in ("kx-any", "kx-ecdhe", "kx-dhe"), cipher
        assert cipher["auth"] in ("auth-any", "auth-rsa", "auth-ecdsa"), cipher
        assert cipher["strength_bits"] >= 128 and cipher["digest"] not in ("sha1", "md5"), cipher


def test_metrics_may_stay_plain(repository, authority, tmp_path):
    install(authority.sign("first"), tmp_path)
    with serve(repository, tmp_path, "--tls-metrics=false") as server:
        with urllib.request.urlopen(server.metrics_url, timeout=SOON_S) as answer:
            ends_at_s = float(
                answer.read().split(b"headrace_tls_certificate_expiry_timestamp_seconds ")[-1].split()[0]
            )
        assert 89 < (ends_at_s - time.time()) / 86400 < 91
        assert get(f"{server.http_url}/v2", context(authority)) == 200


def test_callers_need_a_certificate_of_the_right_authority(repository, authority, tmp_path):
    install(authority.sign("first"), tmp_path)
    callers = Authority(tmp_path, "callers")
    expired = callers.sign("late", lasts=-timedelta(minutes=1))
    early = callers.sign("early", begins=timedelta(hours=1))
    with serve(repository, tmp_path, ca=callers.file) as server:
        assert is_let_in(server, authority, callers.sign("bob")) == [True, True, True]
        assert is_let_in(server, authority) == [False, False, False]
        assert is_let_in(server, authority, authority.sign("stranger")) == [False, False, False]
        assert is_let_in(server, authority, expired) == [False, False, False]
        assert is_let_in(server, authority, early) == [False, False, False]


@pytest.mark.parametrize(("lasts", "is_warned_of"), [(-DAY, True), (13 * DAY, True), (15 * DAY, False)])
def test_a_certificate_that_has_ended_or_soon_will_is_warned_of(
    repository, authority, tmp_path, lasts, is_warned_of
):
    install(authority.sign("first", lasts=lasts), tmp_path)
    with serve(repository, tmp_path) as server:
        assert ("the certificate ends on" in server.log) == is_warned_of
        is_over = lasts < timedelta()
        assert is_let_in(server, authority) == [not is_over] * 3


def test_trust_in_callers_can_be_replaced(repository, authority, tmp_path):
    install(authority.sign("first"), tmp_path)
    old, new = Authority(tmp_path, "old"), Authority(tmp_path, "new")
    trusted = tmp_path / "trusted.pem"
    shutil.copy(old.file, trusted)
    alice, bob = old.sign("alice"), new.sign("bob")
    with serve(repository, tmp_path, ca=trusted) as server:
        assert is_let_in(server, authority, alice) == [True, True, True]
        shutil.copy(new.file, trusted)
        wait_until(lambda: is_let_in(server, authority, bob) == [True, True, True])
        assert is_let_in(server, authority, alice) == [False, False, False]


def test_sessions_are_not_taken_up_again_by_callers_who_are_no_longer_trusted(
    repository, authority, tmp_path
):
    install(authority.sign("first"), tmp_path)
    old, new = Authority(tmp_path, "old"), Authority(tmp_path, "new")
    trusted = tmp_path / "trusted.pem"
    shutil.copy(old.file, trusted)
    alice = context(authority, old.sign("alice"))
    bob = new.sign("bob")
    with serve(repository, tmp_path, ca=trusted) as server:
        session = connect(server.http_port, alice)
        shutil.copy(new.file, trusted)
        wait_until(lambda: is_let_in(server, authority, bob) == [True, True, True])
        with pytest.raises(OSError):
            connect(server.http_port, alice, session)


def connect(port, trusting, session=None):
    """Asks once; the session that could be taken up again."""
    plain = socket.create_connection(("127.0.0.1", port), SOON_S)
    with trusting.wrap_socket(plain, server_hostname="127.0.0.1", session=session) as secure:
        secure.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        if b" 200 " not in secure.recv(4096):
            raise ConnectionError("no answer")
        return secure.session


def test_a_stop_does_not_wait_for_idle_connections(repository, authority, tmp_path):
    install(authority.sign("first"), tmp_path)
    with serve(repository, tmp_path) as server:
        plain = socket.create_connection(("127.0.0.1", server.http_port), SOON_S)
        with context(authority).wrap_socket(plain, server_hostname="127.0.0.1") as secure:
            secure.sendall(b"GET /v2 HTTP/1.1\r\nHost: x\r\n\r\n")
            assert secure.recv(4096)
            assert server.terminate(timeout_s=15) == 0


def test_certificates_are_replaced_under_load_without_a_failed_request(repository, authority, tmp_path):
    install(authority.sign("first"), tmp_path)
    with serve(repository, tmp_path) as server:
        load = Load(server, authority)
        with load:
            for name in ("second", "third"):
                install(authority.sign(name), tmp_path)
                wait_until(lambda name=name: names_shown(server, authority) == [name] * 3)
        assert load.failures == []
        assert min(load.counts) > 10
        assert "Traceback" not in server.log


def test_a_pair_that_does_not_do_leaves_the_one_before_it(repository, authority, tmp_path):
    install(authority.sign("first"), tmp_path)
    with serve(repository, tmp_path) as server:
        (tmp_path / "server.pem").write_bytes(authority.sign("second").certificate.read_bytes())
        wait_until(lambda: "the certificate in use stays" in server.log)
        assert names_shown(server, authority) == ["first"] * 3
        (tmp_path / "server.pem").unlink()
        wait_until(lambda: "cannot be read" in server.log)
        assert names_shown(server, authority) == ["first"] * 3


def test_commands_speak_tls(repository, authority, tmp_path):
    install(authority.sign("first"), tmp_path)
    callers = Authority(tmp_path, "callers")
    bob = callers.sign("bob")
    with serve(repository, tmp_path, ca=callers.file) as server:
        tls = ("--tls-ca", authority.file, "--tls-cert", bob.certificate, "--tls-key", bob.key)
        shown = command("models", "--json", "--url", server.grpc_url, *tls)
        assert json.loads(shown.stdout)[0]["name"] == "identity_fp32"
        assert "expected both --tls-cert and --tls-key" in command("models", *tls[:4]).stderr


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (lambda folder: (folder / "server.key").write_text("x"), "are no certificate and its key"),
        (lambda folder: (folder / "server.pem").unlink(), "cannot be read: No such file or directory"),
    ],
)
def test_files_that_do_not_do_are_named_at_the_start(repository, authority, tmp_path, break_it, words):
    install(authority.sign("first"), tmp_path)
    break_it(tmp_path)
    pair = ("--tls-certificate", tmp_path / "server.pem", "--tls-key", tmp_path / "server.key")
    ended = command("serve", "--model-repository", repository, *pair)
    assert ended.returncode == 1
    assert words in ended.stderr


def command(*words):
    return subprocess.run(
        (sys.executable, "-m", "headrace.cli.main", *map(str, words)),
        capture_output=True,
        text=True,
        timeout=60,
    )


class Load:
    """Asks again and again, over HTTP and gRPC, each time on a new connection and on one that stays."""

    def __init__(self, server, authority):
        self._trusting = context(authority)
        self._url = f"{server.http_url}/v2/models/identity_fp32/infer"
        credentials = grpc.ssl_channel_credentials(authority.file.read_bytes())
        self._channel = grpc.secure_channel(server.grpc_url, credentials)
        self._asks = (
            self._post,
            lambda: ask_grpc(server, authority),
            lambda: self._channel.unary_unary(SERVER_READY)(b"", timeout=SOON_S),
        )
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(at,)) for at in range(len(self._asks))]
        self.counts = [0] * len(self._asks)
        self.failures = []

    def __enter__(self):
        for thread in self._threads:
            thread.start()

    def __exit__(self, *_):
        self._is_over.set()
        for thread in self._threads:
            thread.join()
        self._channel.close()

    def _run(self, at):
        while not self._is_over.is_set():
            try:
                self._asks[at]()
                self.counts[at] += 1
            except Exception as error:
                self.failures.append(repr(error))

    def _post(self):
        request = urllib.request.Request(f"https://{self._url}", json.dumps(INFER).encode())
        with urllib.request.urlopen(request, context=self._trusting, timeout=SOON_S) as answer:
            assert answer.status == 200
