"""Settings: what is read from where, and what is refused."""

from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest
import yaml

from headrace.errors import ConfigError
from headrace.settings import (
    Compression,
    GrpcSettings,
    LogLevel,
    MetricsSettings,
    ModelControlMode,
    RepositorySettings,
    Settings,
)
from headrace.settings.given import OPTIONS
from headrace.settings.printing import to_yaml
from headrace.settings.reading import read_settings


@pytest.fixture
def settings_file(tmp_path: Path):
    def write(text: str) -> Path:
        path = tmp_path / "headrace.yaml"
        path.write_text(text)
        return path

    return write


def problems_of(*arguments: object) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        read_settings(*arguments)
    return str(refused.value).split("\n")


def test_defaults_are_in_force_where_nothing_is_given():
    assert read_settings({}, {}).settings == Settings()
    assert read_settings({}, {}).origins == {}


def test_command_line_goes_before_environment_before_file(settings_file):
    file = settings_file("grpc: {port: 1, max_concurrent_streams: 1, max_metadata_bytes: 2048}\n")
    environment = {"HEADRACE_GRPC_PORT": "2", "HEADRACE_GRPC_MAX_CONCURRENT_STREAMS": "2"}

    effective = read_settings({"grpc.port": ["3"]}, environment, file)

    grpc = effective.settings.grpc
    assert (grpc.port, grpc.max_concurrent_streams, grpc.max_metadata_bytes) == (3, 2, 2048)
    assert effective.origins == {
        "grpc.port": "--grpc-port",
        "grpc.max_concurrent_streams": "HEADRACE_GRPC_MAX_CONCURRENT_STREAMS",
        "grpc.max_metadata_bytes": f"{file}:1",
    }


def test_texts_become_values_of_the_settings_type():
    flags = {
        "repository.path": ["/models"],
        "repository.model_control_mode": ["explicit"],
        "repository.load_models": ["digits", "sentiment"],
        "repository.poll_interval_s": ["0.5"],
        "grpc.compression": ["gzip"],
        "grpc.reflection": ["off"],
    }
    settings = read_settings(flags, {}).settings
    assert settings.repository == RepositorySettings(
        path=Path("/models"),
        model_control_mode=ModelControlMode.EXPLICIT,
        load_models=("digits", "sentiment"),
        poll_interval_s=0.5,
    )
    assert settings.grpc.compression is Compression.GZIP
    assert settings.grpc.reflection is False


def test_environment_lists_are_separated_by_commas():
    environment = {"HEADRACE_MODEL_CONTROL_MODE": "explicit", "HEADRACE_LOAD_MODEL": "digits, sentiment"}
    assert read_settings({}, environment).settings.repository.load_models == ("digits", "sentiment")


def test_config_variable_names_the_file(settings_file):
    file = settings_file("log:\n  level: error\n")
    assert read_settings({}, {"HEADRACE_CONFIG": str(file)}).settings.log.level is LogLevel.ERROR


def test_every_problem_of_every_place_is_told_at_once(settings_file):
    file = settings_file("grpc:\n  port: high\n  prot: 1\nmetric:\n  port: 2\n")
    environment = {"HEADRACE_LIMITS_MAX_INPUT": "2", "HEADRACE_LOG_LEVEL": "loud"}

    problems = problems_of({"grpc.port": ["99999"]}, environment, file)

    assert problems == [
        f"{file}:2: grpc.port: 'high' is not valid: expected an integer from 0 to 65535",
        f"{file}:3: 'grpc.prot' is not a setting; did you mean 'grpc.port'?",
        f"{file}:4: 'metric' is not a setting; did you mean 'metrics'?",
        "HEADRACE_LIMITS_MAX_INPUT: is not a setting; did you mean 'HEADRACE_LIMITS_MAX_INPUTS'?",
        "HEADRACE_LOG_LEVEL: 'loud' is not valid: expected one of info, warning, error",
        "--grpc-port: '99999' is not valid: expected an integer from 0 to 65535",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("grpc:\n  port: '8001'\n", "2: grpc.port: '8001' is not valid"),
        ("grpc:\n  port: true\n", "2: grpc.port: True is not valid"),
        ("grpc:\n  port: 1.5\n", "2: grpc.port: 1.5 is not valid"),
        ("server:\n  drain_timeout_s: .inf\n", "2: server.drain_timeout_s: inf is not valid"),
        ("server:\n  drain_timeout_s: .nan\n", "2: server.drain_timeout_s: nan is not valid"),
        ("server:\n  drain_timeout_s: -1\n", "2: server.drain_timeout_s: -1 is not valid"),
        ("grpc:\n  port:\n", "2: grpc.port: None is not valid"),
        ("grpc:\n  reflection: 1\n", "2: grpc.reflection: 1 is not valid: expected true or false"),
        ("grpc:\n  transport: off\n", "2: grpc.transport: False is not valid: expected one of auto, grpcio"),
        ("grpc:\n  port: [1]\n", "2: grpc.port: [1] is not valid"),
        ("grpc:\n  port: {a: 1}\n", "2: grpc.port: the value cannot be read"),
        ("grpc:\n  port: 1\n  port: 2\n", "3: grpc.port: is given twice"),
        ("grpc: 8001\n", "1: grpc: expected `name: value` lines"),
        ("- grpc\n", "1: the file: expected `name: value` lines"),
        ("grpc:\n\tport: 1\n", "2: not YAML"),
        ("grpc: {port: 1\n", "not YAML"),
        ("repository:\n  path: ''\n", "2: repository.path: '' is not valid: expected a path"),
        ("repository:\n  load_models: [a, 1]\n", "2: repository.load_models: ['a', 1] is not valid"),
        ("server:\n  name: !!python/object:os.system x\n", "2: server.name: the value cannot be read"),
        ("server:\n  name: 2020-01-01\n", "2: server.name: datetime.date(2020, 1, 1) is not valid"),
        ("[" * 5000, "nested too deeply"),
        ("a: &a [x]\nb: &b [*a, *a]\ngrpc:\n  port: [*b, *b]\n", "grpc.port: the value cannot be read"),
    ],
)
def test_wrong_file_is_refused_with_its_line(settings_file, text, problem):
    assert any(problem in line for line in problems_of({}, {}, settings_file(text)))


@pytest.mark.parametrize("text", ["", "grpc:\n", "# nothing\n", "grpc: {}\n", "\ufeffgrpc:\n"])
def test_file_that_sets_nothing_leaves_the_defaults(settings_file, text):
    assert read_settings({}, {}, settings_file(text)).settings == Settings()


def test_missing_file_is_refused(tmp_path):
    assert problems_of({}, {}, tmp_path / "none.yaml") == [
        f"{tmp_path}/none.yaml: cannot be read: No such file or directory"
    ]


def test_huge_file_is_refused(settings_file):
    assert "more than 1048576 bytes" in problems_of({}, {}, settings_file("#" * 2**20 + "\n"))[0]


def test_variables_of_kubernetes_services_are_no_settings():
    environment = {
        "HEADRACE_PORT": "tcp://10.0.0.1:8001",
        "HEADRACE_GRPC_PORT": "tcp://10.0.0.1:8001",
        "HEADRACE_SERVICE_HOST": "10.0.0.1",
        "HEADRACE_SERVICE_PORT": "8001",
        "HEADRACE_SERVICE_PORT_GRPC": "8001",
        "HEADRACE_PORT_8001_TCP": "tcp://10.0.0.1:8001",
        "HEADRACE_PORT_8001_TCP_PROTO": "tcp",
        "HEADRACE_PORT_8001_TCP_ADDR": "10.0.0.1",
    }
    assert read_settings({}, environment).settings == Settings()


def test_a_group_refuses_wrong_values_however_it_is_made():
    with pytest.raises(ConfigError) as refused:
        GrpcSettings(port=-1, address="", reflection="yes")  # type: ignore[arg-type]
    assert str(refused.value).split("\n") == [
        "grpc.address: '' is not valid: expected a text, not empty",
        "grpc.port: -1 is not valid: expected an integer from 0 to 65535",
        "grpc.reflection: 'yes' is not valid: expected true or false",
    ]


def test_a_group_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        GrpcSettings().port = 1  # type: ignore[misc]


def test_models_to_load_are_refused_outside_explicit_mode():
    assert problems_of({"repository.load_models": ["digits"]}, {}) == [
        "repository.load_models: has no effect where repository.model_control_mode is poll: expected explicit"
    ]


def test_one_port_cannot_serve_two_endpoints():
    assert problems_of({"grpc.port": ["8002"]}, {}) == [
        "metrics.port: 8002 is grpc.port already: expected another port"
    ]
    assert Settings(grpc=GrpcSettings(port=0), metrics=MetricsSettings(port=0))
    assert Settings(grpc=GrpcSettings(port=8002), metrics=MetricsSettings(enabled=False))


def test_printed_settings_read_back_as_the_same(settings_file):
    flags = {
        "repository.path": ["/models # not a comment"],
        "repository.model_control_mode": ["explicit"],
        "repository.load_models": ["*", "on", "a: b"],
        "repository.ready_marker": [""],
        "server.name": ["null"],
        "log.level": ["error"],
    }
    effective = read_settings(flags, {"HEADRACE_GRPC_REFLECTION": "no"})

    printed = to_yaml(effective)

    assert read_settings({}, {}, settings_file(printed)).settings == effective.settings
    assert "  reflection: false  # HEADRACE_GRPC_REFLECTION\n" in printed
    assert "  port: 8001\n" in printed
    assert set(yaml.safe_load(printed)) == set(OPTIONS)


def test_flags_and_variables_are_unique_and_every_option_has_help():
    options = [option for group in OPTIONS.values() for option in group]
    flags = [flag for option in options for flag in (option.flag, *option.aliases)]
    assert len(flags) == len(set(flags))
    assert len({option.variable for option in options}) == len(options)
    assert all(option.help.endswith(".") for option in options)


def test_a_unit_in_a_name_is_also_told_in_words():
    units = {"_s": "seconds", "_ms": "milliseconds", "_bytes": "bytes"}
    for options in OPTIONS.values():
        for option in options:
            for ending, unit in units.items():
                if option.name.endswith(ending):
                    assert option.unit == unit, option.key
