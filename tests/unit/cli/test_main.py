"""The `headrace` command as a whole: sub-commands, wrong usage, what is imported."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from headrace.cli import reference, serve
from headrace.cli.main import COMMANDS
from headrace.service.answers import ModelInfo
from headrace.settings import LogFormat
from headrace.settings.given import OPTIONS

DOCUMENTATION = Path(__file__).parents[3] / "docs" / "configuration.md"

OFFLINE_COMMANDS = ("serve", "models", "infer", "golden", "batches", "audit", "version")


def test_help_lists_every_command(run):
    ran = run("--help")
    assert ran.status == 0
    assert all(command in ran.out for command in COMMANDS)


@pytest.mark.parametrize("command", OFFLINE_COMMANDS)
def test_help_of_a_command_has_examples(run, command):
    ran = run(command, "--help")
    assert ran.status == 0
    assert f"examples:\n  headrace {command}" in ran.out


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["sevre"], "headrace: 'sevre' is not a command; did you mean 'serve'?"),
        (
            ["serve", "--grcp-port", "1"],
            "headrace: --grcp-port: is not an option; did you mean '--grpc-port'?",
        ),
        (
            ["serve", "--grcp-port=1"],
            "headrace: --grcp-port=1: is not an option; did you mean '--grpc-port'?",
        ),
        (["version", "extra"], "headrace: 'extra' is one argument too many"),
        (["models", "--ulr", "x"], "headrace: --ulr: is not an option; did you mean '--url'?"),
    ],
)
def test_what_is_not_known_is_refused_with_a_guess(run, words, complaint):
    ran = run(*words)
    assert ran.status == 2
    assert ran.err == complaint + "\n"


def test_no_command_is_wrong_usage(run):
    assert run().status == 2


@pytest.mark.parametrize("command", ["models", "infer", "golden", "batches", "version"])
def test_client_commands_load_neither_the_server_nor_onnxruntime(command):
    script = (
        "import sys; from headrace.cli.main import main\n"
        f"try: main(['{command}', '--help'])\n"
        "except SystemExit: pass\n"
        "bad = [m for m in sys.modules if m in ('onnxruntime', 'headrace.server')\n"
        "       or m.startswith(('headrace.model', 'headrace.backend', 'headrace.transport'))]\n"
        "sys.exit(f'loaded {bad}' if bad else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_version_does_not_load_what_it_names():
    script = (
        "import sys; from headrace.cli.main import main; main(['version'])\n"
        "sys.exit(str({'grpc', 'numpy', 'google.protobuf', 'yaml', 'headrace.settings'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stderr == "set()\n"


def test_reader_who_leaves_the_pipe_is_no_error(run):
    """As `headrace version | true`, with a pipe that nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    script = "import sys; from headrace.cli.main import main; sys.exit(main(['version']) and 0)"
    done = subprocess.run([sys.executable, "-c", script], stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


def test_version_names_every_part(run):
    ran = run("version")
    names = [line.split()[0] for line in ran.lines]
    assert names == ["headrace", "python", "grpcio", "protobuf", "onnxruntime", "providers"]
    assert "CPUExecutionProvider" in ran.out


def test_version_as_json(run):
    assert run("version", "--json").json["headrace"] == "0.1.0"


def test_serve_help_lists_every_setting_with_its_default_and_unit(run):
    out = " ".join(run("serve", "--help").out.split())
    for options in OPTIONS.values():
        for option in options:
            unit = f"{option.unit}, " if option.unit else ""
            assert f"[{unit}default: {reference.default_of(option)}]" in out
            assert option.flag in out


def test_serve_prints_settings_with_their_origins(run, monkeypatch):
    monkeypatch.setenv("HEADRACE_METRICS_PORT", "9002")
    ran = run("serve", "--grpc-port=9001", "--exit-on-error", "--print-settings")
    assert ran.status == 0
    assert "  port: 9001  # --grpc-port\n" in ran.out
    assert "  port: 9002  # HEADRACE_METRICS_PORT\n" in ran.out
    assert "  exit_on_error: true  # --exit-on-error\n" in ran.out


def test_serve_takes_tritons_flags(run):
    flags = [
        "--model-store=/models",
        "--repository-poll-secs",
        "2",
        "--allow-metrics=false",
        "--log-verbose=1",
    ]
    out = run("serve", *flags, "--print-settings").out
    for line in ("path: /models", "poll_interval_s: 2.0", "enabled: false", "verbose_level: 1"):
        assert f"  {line}  # --" in out


def test_serve_names_every_wrong_setting_and_ends_with_2(run):
    ran = run("serve", "--grpc-port", "high", "--gpu=yes")
    assert ran.status == 2
    assert ran.err.splitlines() == [
        "headrace: --gpu: 'yes' is not valid: expected one of auto, off",
        "headrace: --grpc-port: 'high' is not valid: expected an integer from 0 to 65535",
    ]


@pytest.mark.parametrize(("log_format", "is_shown"), [(LogFormat.TEXT, True), (LogFormat.JSON, False)])
def test_serve_shows_its_models_beside_a_text_log_only(capsys, log_format, is_shown):
    info = ModelInfo("digits", "3", "READY", "", 32, 2, 1, "cpu", 0, 1024, 1000, is_default=True)
    started = SimpleNamespace(
        grpc_address="127.0.0.1",
        grpc_port=8001,
        http_address="127.0.0.1",
        http_port=8000,
        metrics_address="127.0.0.1",
        metrics_port=None,
        is_encrypted=False,
        transport="grpcio",
        machine=SimpleNamespace(cores=2, gpus=()),
        models=[info],
    )
    serve._announce(log_format, started)  # type: ignore[arg-type]
    assert ("digits  3*       READY" in capsys.readouterr().out) is is_shown


def test_documentation_of_the_settings_is_up_to_date():
    page = DOCUMENTATION.read_text()
    assert page == reference.updated(page), "run: python -m headrace.cli.reference docs/configuration.md"
