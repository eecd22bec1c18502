"""Starts that cannot be, and repositories that are empty or gone: said in one line, or lived with."""

import asyncio
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import grpc
import numpy as np
import pytest

from adversity.clients import EXPLICIT, Caller, code_of, eventually, floats, run
from adversity.observing import assert_sound
from support.adversity_models import scaler, write_config, write_model
from support.server import ServerProcess

POLL = ("--repository-poll-interval-s=0.2", "--repository-settle-time-s=0.2")
BYTES_OF_A_UNIX_PATH = 108

YAML_BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join(['*' + before] * 9)}]\n" for before, name in zip("abcdefghi", "bcdefghij")
)


def headrace(*words: object, timeout_s: float = 30) -> "subprocess.CompletedProcess[str]":
    with tempfile.TemporaryDirectory() as state_dir:
        return subprocess.run(
            [sys.executable, "-m", "headrace.cli.main", *map(str, words)],
            capture_output=True,
            text=True,
            timeout=timeout_s,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "HEADRACE_STATE_DIR": state_dir},
        )


def serve(repository: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    """A server that is not expected to come up."""
    ports = [f"--{name}-port=0" for name in ("grpc", "metrics") if f"--{name}-port" not in "".join(words)]
    return headrace("serve", f"--model-repository={repository}", *EXPLICIT, *ports, *words)


def test_a_port_that_is_taken_is_named(repository):
    """L15."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for option in ("grpc", "http", "metrics"):
            ended = serve(repository, f"--{option}-port={port}")
            assert ended.returncode == 1
            assert _one_line_naming(ended, f"127.0.0.1:{port}", "address already in use")


@pytest.mark.parametrize(
    ("option", "address"),
    [
        ("grpc", "203.0.113.7"),
        ("grpc", "no.such.host.invalid"),
        ("http", "203.0.113.7"),
        ("metrics", "203.0.113.7"),
    ],
)
def test_an_address_that_cannot_be_listened_on_is_named(repository, option, address):
    """L15."""
    ended = serve(repository, f"--{option}-address={address}", "--allow-anonymous")
    assert ended.returncode == 1
    assert _one_line_naming(ended, address)


def test_a_port_that_other_machines_reach_needs_callers_to_be_known(repository):
    ended = serve(repository, "--http-address=0.0.0.0")
    assert ended.returncode == 2
    assert _one_line_naming(ended, "http.address", "0.0.0.0", "--access-file", "--allow-anonymous")


@pytest.mark.parametrize("permission", ["control: ['*']", "admin: true"])
def test_an_access_file_that_lets_everybody_change_things_is_not_enough(repository, tmp_path, permission):
    access_file = tmp_path / "access.yaml"
    access_file.write_text(f"roles: {{all: {{{permission}}}}}\nanonymous: {{roles: [all]}}\n")
    ended = serve(repository, "--http-address=0.0.0.0", f"--access-file={access_file}")
    assert ended.returncode == 1
    assert _one_line_naming(ended, "security.access_file", permission.split(":")[0], "--allow-anonymous")


def test_what_strangers_may_do_on_an_open_port_is_told(repository, tmp_path):
    access_file = tmp_path / "access.yaml"
    access_file.write_text("roles: {all: {infer: ['*']}}\nanonymous: {roles: [all]}\n")
    # Ends at the port that is none of this machine's.
    words = ("--http-address=0.0.0.0", "--grpc-address=203.0.113.7", f"--access-file={access_file}")
    ended = serve(repository, *words)
    assert ended.returncode == 1
    assert "callers without credentials may infer" in ended.stderr


def test_a_unix_path_that_is_too_long_or_nowhere_is_named(repository, tmp_path):
    """L15."""
    for path in (tmp_path / ("x" * BYTES_OF_A_UNIX_PATH), tmp_path / "no such folder" / "socket"):
        ended = serve(repository, f"--grpc-address=unix:{path}")
        assert ended.returncode in (1, 2)
        assert _one_line_naming(ended, str(path))


def _one_line_naming(ended, *words: str) -> bool:
    """One line of the log is an error, and it holds `words`; nothing else looks like one."""
    lines = [
        line
        for line in ended.stderr.splitlines()
        if line.startswith("headrace: ") or " error " in line or "Traceback" in line
    ]
    assert len(lines) == 1, ended.stderr
    assert all(word.lower() in lines[0].lower() for word in words), lines[0]
    assert "Traceback" not in ended.stderr
    return True


CONFIGS = {
    "misspelt": ("max_batch_sise: 4\n", "max_batch_size"),
    "wrong_type": ("max_batch_size: many\n", "max_batch_size"),
    "negative": ("max_batch_size: -4\n", "max_batch_size"),
    "duplicate": ("max_batch_size: 4\nmax_batch_size: 8\n", "max_batch_size"),
    "tabs": ("instance_group:\n\t- count: 1\n", "config.yaml:2"),
    "bomb": (YAML_BOMB, "config.yaml"),
    "list": ("- max_batch_size\n", "config.yaml"),
    "binary": (os.urandom(64).replace(b"\n", b"") + b"\xff\x00", "config.yaml"),
    "huge": ("# " + "x" * 10_000_000 + "\n", "config.yaml"),
}


@pytest.fixture
def wrong_configs(repository):
    for name, (text, _) in CONFIGS.items():
        write_model(repository, name, scaler(1), config=text)
    write_model(repository, "marked", scaler(1), config="\ufeffmax_batch_size: 4\n")
    write_model(repository, "blank", scaler(1), config="")
    write_model(repository, "fine", scaler(1))
    return repository


def test_check_names_everything_that_is_wrong_at_once(wrong_configs):
    """L16: each model's file, and "did you mean" where a name is nearly right."""
    ended = headrace("check", wrong_configs)
    assert ended.returncode == 1
    assert "Traceback" not in ended.stdout + ended.stderr
    lines = ended.stdout.splitlines()
    for name, (_, words) in CONFIGS.items():
        assert any(name in line and words in line for line in lines), (name, ended.stdout[:4000])
    misspelt = next(line for line in lines if line.startswith("problem: misspelt"))
    assert re.search(r"config\.yaml:1\b.*did you mean.*max_batch_size", misspelt)
    assert f"3 models can be served; {len(CONFIGS)} problems" in lines[-1]
    assert len(ended.stdout) < 20_000


def test_check_of_what_is_right_ends_well(repository):
    """L16."""
    write_model(repository, "fine", scaler(1))
    assert headrace("check", repository).returncode == 0


def test_a_server_with_wrong_configurations_says_so_and_serves_the_others(wrong_configs):
    """L16: a byte order mark and an empty file are no mistakes."""

    async def main(server):
        async with Caller(server.grpc_url) as caller:
            index = await caller.index()
            for name in ("fine", "marked", "blank"):
                assert index[name, "1"] == ("READY", "")
                assert (await caller.infer(name, "x", floats())).values[0, 0] == 1
            for name, (_, words) in CONFIGS.items():
                state, reason = index[name, "1"]
                assert state == "UNAVAILABLE"
                assert words in reason
                assert any(name in line and words in line for line in server.log.splitlines())
                assert (await code_of(caller.infer(name, "x", floats())))[0] is grpc.StatusCode.NOT_FOUND

    with ServerProcess(wrong_configs, *EXPLICIT) as server:
        run(main(server))
        assert_sound(server)


def test_exit_on_error_refuses_to_serve_half_a_repository(wrong_configs):
    """L16."""
    ended = serve(wrong_configs, "--exit-on-error")
    assert ended.returncode == 1
    assert "misspelt" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_wrong_settings_are_all_named_at_once(repository, tmp_path):
    """L16: from the command line and from the file, with exit status 2."""
    settings = tmp_path / "headrace.yaml"
    settings.write_text("grpc:\n  prot: 8001\nexecution:\n  cpu_cores: many\n")
    ended = headrace("serve", "--model-repository", repository, "--config", settings, "--metrics-port=-1")
    assert ended.returncode == 2
    for words in ("prot", "did you mean", "cpu_cores", "many", "metrics"):
        assert words in ended.stderr, ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_missing_repository_is_an_error_of_one_line(repository):
    """L19."""
    gone = repository.parent / "gone"
    ended = serve(gone)
    assert ended.returncode == 1
    assert _one_line_naming(ended, str(gone))


@pytest.fixture(scope="module")
def polled(tmp_path_factory):
    """A server that follows a repository, empty at the start, and that repository."""
    models = tmp_path_factory.mktemp("polled") / "models"
    models.mkdir()
    with ServerProcess(models, *POLL) as server:
        yield server, models


def test_an_empty_repository_is_served_and_filled_later(polled):
    """L19."""
    server, models = polled

    async def main():
        async with Caller(server.grpc_url) as caller:
            assert await caller.is_server_ready()
            code, details = await code_of(caller.infer("first", "x", floats()))
            assert code is grpc.StatusCode.NOT_FOUND
            assert "'first' is not found" in details
            write_model(models, "first", scaler(2))
            await eventually(lambda: caller.is_model_ready("first"))
            assert (await caller.infer("first", "x", floats())).values[0, 0] == 2

    run(main())
    assert_sound(server)


def test_a_repository_that_is_gone_for_a_while_takes_no_model_away(polled):
    """L19: removed at run time, and back with a new version."""
    server, models = polled
    elsewhere = models.parent / "elsewhere"
    write_model(models, "m", scaler(1))

    async def main():
        async with Caller(server.grpc_url) as caller:
            await eventually(lambda: caller.is_model_ready("m"))
            models.rename(elsewhere)
            for _ in range(10):
                assert (await caller.infer("m", "x", floats())).version == 1
                await asyncio.sleep(0.1)
            assert await caller.is_server_ready()
            write_model(elsewhere, "m", scaler(2), version=2)
            elsewhere.rename(models)
            await eventually(lambda: _is_version(caller, 2), 15)
            write_model(models, "m", scaler(3), version=3)
            await eventually(lambda: _is_version(caller, 3), 15)

    run(main())
    assert server.log.count("what is loaded stays loaded") == 1
    assert_sound(server)


async def _is_version(caller: Caller, version: int) -> bool:
    got = await caller.infer("m", "x", floats())
    assert np.array_equal(got.values, floats() * got.version)
    return got.version == version


def test_a_model_that_is_removed_is_no_longer_found_and_one_that_comes_back_is(polled):
    """L19."""
    server, models = polled
    write_model(models, "leaves", scaler(1))
    write_model(models, "stays", scaler(7))

    async def main():
        async with Caller(server.grpc_url) as caller:
            for name in ("leaves", "stays"):
                await eventually(lambda: caller.is_model_ready(name))  # noqa: B023
            shutil.move(models / "leaves", models.parent / "leaves")
            await eventually(lambda: _is_gone(caller), 10)
            assert (await caller.infer("stays", "x", floats())).values[0, 0] == 7
            shutil.move(models.parent / "leaves", models / "leaves")
            await eventually(lambda: caller.is_model_ready("leaves"), 10)
            assert (await caller.infer("leaves", "x", floats())).values[0, 0] == 1

    run(main())
    assert_sound(server)


async def _is_gone(caller: Caller) -> bool:
    code, _ = await code_of(caller.infer("leaves", "x", floats()))
    return code is grpc.StatusCode.NOT_FOUND


def test_a_repository_is_only_read(repository):
    """L19: one that may not be written to is as good as any."""
    write_model(repository, "m", scaler(4))
    write_config(repository / "m", "max_batch_size: 4\n")

    def stamps():
        return {path: path.stat().st_mtime_ns for path in (repository, *repository.rglob("*"))}

    async def main(server):
        async with Caller(server.grpc_url) as caller:
            assert (await caller.infer("m", "x", floats())).values[0, 0] == 4
            await caller.load("m")
            await caller.unload("m")

    before = stamps()
    with ServerProcess(repository, *EXPLICIT) as server:
        run(main(server))
        assert_sound(server)
        assert server.terminate() == 0
    assert stamps() == before


@pytest.mark.parametrize("streams", [">/dev/full 2>&1", ">&- 2>&-", ">&- 2>/dev/full"])
def test_a_log_that_cannot_be_written_stops_nobody(repository, streams):
    """R06: the disk is full, or whoever read it is gone."""
    write_model(repository, "m", scaler(4))
    command = ("/bin/sh", "-c", f'exec "$0" "$@" {streams}', sys.executable, "-m", "headrace.cli.main")

    async def main(server):
        async with Caller(server.grpc_url) as caller:
            assert (await caller.infer("m", "x", floats())).values[0, 0] == 4
            assert (await code_of(caller.load("missing")))[0] is grpc.StatusCode.INVALID_ARGUMENT
            await caller.load("m")
            assert (await caller.infer("m", "x", floats())).values[0, 0] == 4

    with ServerProcess(repository, *EXPLICIT, command=command) as server:
        run(main(server))
        assert server.terminate() == 0
