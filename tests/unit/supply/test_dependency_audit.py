"""`make audit-dependencies` with the real pip-audit, against a vulnerability service on this machine."""

import json
import socket
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

import audit_dependencies

KNOWN = {
    "id": "PYSEC-2026-1",
    "summary": "Something.",
    "affected": [
        {
            "package": {"name": "second", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "2.1"}]}],
        }
    ],
}


class Service(ThreadingHTTPServer):
    """Speaks OSV's protocol; `known` has what it tells of a package's name."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.known: dict[str, list[dict[str, Any]]] = {}
        self.asked: list[tuple[str, str]] = []
        self.is_broken = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1/query"


class Answer(BaseHTTPRequestHandler):
    server: Service

    def do_POST(self) -> None:
        query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name = query["package"]["name"]
        self.server.asked.append((name, query["version"]))
        vulnerabilities = self.server.known.get(name)
        body = json.dumps({"vulns": vulnerabilities} if vulnerabilities else {}).encode()
        self.send_response(500 if self.server.is_broken else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Service() as service:
        thread = Thread(target=service.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield service
        service.shutdown()
        thread.join()


@pytest.fixture
def lock_file(tmp_path: Path) -> Path:
    path = tmp_path / "some.lock"
    pins = ("first==1.0", "second==2.0", "elsewhere==3.0 ; sys_platform == 'win32'")
    path.write_text("".join(f"{pin} \\\n    --hash=sha256:{'1' * 64}\n" for pin in pins))
    return path


def audited(lock_file: Path, url: str) -> int:
    words = [
        "--vulnerability-service",
        "osv",
        "--osv-url",
        url,
        "--cache-dir",
        str(lock_file.parent / "cache"),
    ]
    return audit_dependencies.main(["--lock", str(lock_file), *words])


def test_audit_without_a_finding(
    service: Service, lock_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = audited(lock_file, service.url)

    assert status == 0
    assert capsys.readouterr().out == "some.lock: 2 packages, nothing known\n"
    assert sorted(service.asked) == [("first", "1.0"), ("second", "2.0")]


def test_audit_names_what_is_known(
    service: Service, lock_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    service.known["second"] = [KNOWN]

    status = audited(lock_file, service.url)

    assert status == 1
    assert capsys.readouterr().out == "some.lock: second 2.0: PYSEC-2026-1, fixed in 2.1\n"


def test_service_that_fails_is_no_verdict(
    service: Service, lock_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    service.is_broken = True

    status = audited(lock_file, service.url)

    printed = capsys.readouterr()
    assert status == 2
    assert "nothing known" not in printed.out
    assert "no verdict" in printed.err


def test_service_that_is_not_there_is_no_verdict(
    lock_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        status = audited(lock_file, f"http://127.0.0.1:{unheard.getsockname()[1]}/v1/query")

    printed = capsys.readouterr()
    assert status == 2
    assert "some.lock: no verdict: " in printed.err
    assert "this needs a network" in printed.err


def test_lock_without_hashes_is_not_asked_about(
    service: Service, lock_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lock_file.write_text("first==1.0\n")

    status = audited(lock_file, service.url)

    assert status == 2
    assert "without a hash: 'first==1.0'" in capsys.readouterr().err
    assert service.asked == []
