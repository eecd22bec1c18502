"""Configuration files: YAML, Triton's text format and JSON to one message, with every mistake told."""

from pathlib import Path

import pytest

from headrace.pb.inference import model_config_pb2 as pb
from headrace.repository.files.disk import DiskFolder
from headrace.repository.problems import InvalidConfig
from headrace.repository.text.config_file import (
    parse_json_config,
    parse_pbtxt_config,
    parse_yaml_config,
    read_config_file,
)


def yaml_message(text: str) -> pb.ModelConfig:
    return parse_yaml_config("m/config.yaml", text).message


def yaml_problems(text: str) -> list[str]:
    with pytest.raises(InvalidConfig) as caught:
        parse_yaml_config("m/config.yaml", text)
    return str(caught.value).splitlines()


def read(folder: Path) -> pb.ModelConfig:
    with DiskFolder.open(folder, "m") as opened:
        return read_config_file(opened).message


def test_yaml_takes_tritons_field_names() -> None:
    message = yaml_message(
        """
name: digits
max_batch_size: 8
input:
  - {name: x, data_type: TYPE_FP32, dims: [3, -1]}
dynamic_batching: {max_queue_delay_microseconds: 100, priority_queue_policy: {1: {max_queue_size: 4}}}
"""
    )
    assert message.input[0] == pb.ModelInput(name="x", data_type=pb.TYPE_FP32, dims=[3, -1])
    assert message.dynamic_batching.priority_queue_policy[1].max_queue_size == 4


def test_enum_values_may_leave_out_their_prefix() -> None:
    message = yaml_message(
        "input: [{name: x, data_type: FP32}]\ninstance_group: [{kind: CPU}, {kind: KIND_GPU}]"
    )
    assert message.input[0].data_type == pb.TYPE_FP32
    assert [group.kind for group in message.instance_group] == [2, 1]


def test_parameters_may_be_short_or_long() -> None:
    message = yaml_message("parameters: {a: 2, b: {string_value: '3'}, c: on, session.d: ''}")
    texts = {name: parameter.string_value for name, parameter in message.parameters.items()}
    assert texts == {"a": "2", "b": "3", "c": "on", "session.d": ""}


@pytest.mark.parametrize("text", ["dynamic_batching:", "dynamic_batching: {}", "dynamic_batching: null"])
def test_an_empty_dynamic_batching_is_present(text: str) -> None:
    assert yaml_message(text).HasField("dynamic_batching")


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ("all", "all"),
        ("latest", "latest"),
        ("{latest: {num_versions: 2}}", "latest"),
        ("{latest: 2}", "latest"),
    ],
)
def test_version_policy_may_be_a_word(text: str, choice: str) -> None:
    message = yaml_message(f"version_policy: {text}")
    assert message.version_policy.WhichOneof("policy_choice") == choice


def test_specific_versions_may_be_a_list() -> None:
    message = yaml_message("version_policy: {specific: [3, 1]}")
    assert list(message.version_policy.specific.versions) == [3, 1]


def test_a_text_field_takes_what_looks_like_another_type() -> None:
    assert yaml_message("name: 010").name == "010"
    assert yaml_message("name: no").name == "no"


def test_unknown_field_gets_a_suggestion_with_file_and_line() -> None:
    assert yaml_problems("name: m\nmax_batchsize: 3") == [
        "m/config.yaml:2: max_batchsize: unknown field 'max_batchsize'; did you mean 'max_batch_size'?"
    ]


def test_every_problem_of_a_file_is_told() -> None:
    problems = yaml_problems(
        "max_batch_size: many\ninput:\n  - nam: x\n    dims: [1, '2', 2.5]\n    data_type: FP33\n"
        "instance_group: {count: 1}"
    )
    assert [problem.split(": ")[1] for problem in problems] == [
        "max_batch_size",
        "input[0].nam",
        "input[0].dims[1]",
        "input[0].dims[2]",
        "input[0].data_type",
        "instance_group",
    ]
    assert problems[2] == (
        "m/config.yaml:4: input[0].dims[1]: '2' is quoted; expected an integer, without quotes"
    )
    assert problems[4].endswith("did you mean 'FP32'?")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("max_batch_size: 3000000000", "out of range"),
        ("dynamic_batching: {max_queue_delay_microseconds: -1}", "expected an integer of 0 to"),
        ("dynamic_batching: {preserve_ordering: 1}", "expected true or false"),
        ("metric_tags: [a]", "expected a mapping"),
        ("input: [3]", "expected a mapping with name"),
        ("name: [a]", "expected a single value"),
        ("version_policy: al", "did you mean 'all'?"),
        ("dynamic_batching: {}\nsequence_batching: {}", "excludes 'dynamic_batching'"),
        ("model_metrics: {metric_control: [{histogram_options: {buckets: [x]}}]}", "expected a number"),
    ],
)
def test_a_wrong_value_is_told_with_what_was_expected(text: str, problem: str) -> None:
    assert problem in "\n".join(yaml_problems(text))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("name: a\nname: b", "m/config.yaml:2: 'name' is given twice, first on line 1"),
        ("name: a\n\tplatform: b", "tabs"),
        ("- name: a", "a list is given"),
        ("just text", "expected a mapping"),
        ("name: a\n---\nname: b", "second document"),
        ("metric_tags: {<<: {a: b}}", "merge keys"),
        ("name: !!python/object/apply:os.system [ls]", "tag"),
        ("? [a]\n: b", "used as a key"),
        ("input: [", "not valid YAML"),
        ('name: "\\UFFFFFFFF"', "not valid YAML"),
        ('name: "\\ud800"', "lone surrogate"),
        ('instance_group: [{kind: "\\ud800"}]', "is unknown; expected one of AUTO"),
        ("name: *a", "alias *a"),
        ("metric_tags: &a {b: *a}", "alias *a"),
        ("[" * 40, "nested more than 32"),
        ("name: \x01", "not allowed in YAML"),
        ("metric_tags: {" + ", ".join(f"k{n}: v" for n in range(10_001)) + "}", "more than 20000 values"),
    ],
)
def test_yaml_that_is_not_a_configuration_is_refused(text: str, problem: str) -> None:
    assert problem in "\n".join(yaml_problems(text))


def test_an_alias_repeats_a_value() -> None:
    message = yaml_message("input: [{name: x, dims: &d [3]}]\noutput: [{name: y, dims: *d}]")
    assert list(message.output[0].dims) == [3]


def test_a_bomb_of_aliases_is_refused() -> None:
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    assert "aliases expanded" in "\n".join(yaml_problems("\n".join(levels)))


@pytest.mark.parametrize("content", [b"", b"# nothing\n", b"\xef\xbb\xbf", b"---\n"])
def test_an_empty_file_is_no_configuration(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "config.yaml").write_bytes(content)
    assert read(tmp_path) == pb.ModelConfig()


def test_a_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_bytes(b"\xef\xbb\xbfname: m")
    assert read(tmp_path).name == "m"


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({"config.yaml": b"name: \xff"}, "m/config.yaml:1: byte 0xff is not UTF-8"),
        ({"config.yaml": b"#" * (1 << 20) + b"#"}, "at most 1048576 are read"),
        ({"config.yaml": b"", "config.pbtxt": b""}, "has both config.yaml and config.pbtxt"),
        ({"config.yml": b"name: m"}, "name it config.yaml"),
    ],
)
def test_a_file_that_cannot_be_read_as_configuration_is_refused(
    tmp_path: Path, files: dict[str, bytes], problem: str
) -> None:
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidConfig, match=problem):
        read(tmp_path)


def test_a_linked_configuration_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("name: m")
    (tmp_path / "config.yaml").symlink_to("elsewhere")
    with pytest.raises(InvalidConfig, match="symbolic link"):
        read(tmp_path)


def test_tritons_text_format_is_read_unchanged(tmp_path: Path) -> None:
    (tmp_path / "config.pbtxt").write_text(
        'platform: "onnxruntime_onnx"\ninput [ { name: "x" data_type: TYPE_FP32 dims: [ 3 ] } ]\n'
        'parameters { key: "a" value: { string_value: "1" } }\ndynamic_batching { }'
    )
    message = read(tmp_path)
    assert message.input[0].dims == [3]
    assert message.parameters["a"].string_value == "1"
    assert message.HasField("dynamic_batching")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('name: "m"\nmax_batch_siz: 3', ":2: .*max_batch_siz.*did you mean 'max_batch_size'"),
        ("input { data_type: TYPE_FP33 }", "did you mean 'TYPE_FP32'"),
        ("instance_group { kind: 7 }", r"instance_group\[0\].kind: 7 is given"),
        (
            "dynamic_batching { priority_queue_policy { key: 1 value { timeout_action: 9 } } }",
            "timeout_action: 9",
        ),
        ('name: "a" name: "b"', "multiple"),
        ("[", "Expected identifier"),
        ('name: "\\xff"', "utf-8"),
    ],
)
def test_a_mistake_in_text_format_is_told_with_its_line(text: str, problem: str) -> None:
    with pytest.raises(InvalidConfig, match=problem):
        parse_pbtxt_config("m/config.pbtxt", text)


def test_json_may_be_written_as_protobuf_writes_it() -> None:
    text = '{"maxBatchSize": 4, "input": [{"name": "x", "dataType": "TYPE_FP32", "dims": ["-1", 3]}]}'
    message = parse_json_config("m", text).message
    assert message.max_batch_size == 4
    assert list(message.input[0].dims) == [-1, 3]


def test_json_keeps_parameters_as_text() -> None:
    text = '{"parameters": {"a": {"string_value": "1"}, "b": 2}}'
    message = parse_json_config("m", text).message
    assert {name: item.string_value for name, item in message.parameters.items()} == {"a": "1", "b": "2"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "not valid JSON"),
        ('{"name": "a", "name": "b"}', "given twice"),
        ('{"nme": "a"}', "did you mean 'name'"),
        ('{"max_batch_size": NaN}', "NaN"),
        ("[" * 100_000, "levels"),
        ("[1]", "expected a mapping"),
        ('{"name": "\\ud800"}', "lone surrogate"),
        (" " * (1 << 20) + "{}", "at most"),
    ],
)
def test_json_that_is_not_a_configuration_is_refused(text: str, problem: str) -> None:
    with pytest.raises(InvalidConfig, match=problem):
        parse_json_config("m", text)


def test_control_characters_never_reach_a_message() -> None:
    (problem,) = yaml_problems('"\\e[31m\\n\\u202e": 1')
    assert problem.isprintable()
