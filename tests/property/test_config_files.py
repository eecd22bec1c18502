"""Any text is a configuration or a documented error, and nothing else."""

import json
import tempfile
from pathlib import Path

import yaml
from google.protobuf import text_format
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from headrace.errors import ConfigError, HeadraceError
from headrace.pb.inference import model_config_pb2 as pb
from headrace.repository.config import ModelConfig
from headrace.repository.override import Override
from headrace.repository.repository import Repository
from headrace.repository.text.config_file import parse_json_config, parse_pbtxt_config, parse_yaml_config

FIELD_NAMES = sorted({field.name for field in pb.ModelConfig.DESCRIPTOR.fields})
INNER_NAMES = [
    "name",
    "data_type",
    "dims",
    "reshape",
    "count",
    "kind",
    "priority_levels",
    "latest",
    "shape",
    "inputs",
]
WORDS = ["x", "y", "FP32", "TYPE_FP64", "CPU", "all", "REJECT", "", "..", "1", "-1", "true", "\ud800", "a\0b"]

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.integers(-2, 9)
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(WORDS)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(INNER_NAMES) | st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)
MAPPINGS = st.dictionaries(st.sampled_from(FIELD_NAMES) | st.text(max_size=6), VALUES, max_size=6)
TENSORS = st.lists(
    st.fixed_dictionaries(
        {"name": st.sampled_from(["x", "y", "z"])},
        optional={
            "data_type": st.sampled_from(["FP32", "FP64", "STRING"]),
            "dims": st.lists(st.integers(-2, 5), max_size=3),
            "reshape": st.fixed_dictionaries({"shape": st.lists(st.integers(-1, 5), max_size=3)}),
            "label_filename": st.sampled_from(["", "labels.txt", "../x", "\0"]),
        },
    ),
    max_size=2,
)
LIKELY = st.fixed_dictionaries(
    {},
    optional={
        "max_batch_size": st.integers(-1, 5),
        "input": TENSORS,
        "output": TENSORS,
        "dynamic_batching": st.dictionaries(
            st.sampled_from([field.name for field in pb.ModelDynamicBatching.DESCRIPTOR.fields]),
            VALUES,
            max_size=3,
        ),
        "instance_group": st.lists(
            st.dictionaries(st.sampled_from(["kind", "count", "gpus"]), VALUES), max_size=2
        ),
        "parameters": st.dictionaries(st.text(max_size=4), SCALARS, max_size=3),
        "model_warmup": VALUES,
        "version_policy": VALUES,
    },
)
SHAPES = st.lists(st.sampled_from([1, 2, 4, "batch", "n", None]), max_size=3) | st.none()


def accepted_or_refused(parse, text: str) -> None:
    try:
        assert isinstance(parse("m/config", text).message, pb.ModelConfig)
    except ConfigError as error:
        assert str(error)


@given(MAPPINGS | LIKELY)
def test_any_yaml_mapping_is_a_configuration_or_refused(mapping: dict[str, object]) -> None:
    accepted_or_refused(parse_yaml_config, yaml.safe_dump(mapping, allow_unicode=True))


@given(st.text(max_size=200) | st.text(alphabet="[]{}:,-&*!|>'\"%@` \n\tab1", max_size=60))
def test_any_text_as_yaml_is_a_configuration_or_refused(text: str) -> None:
    accepted_or_refused(parse_yaml_config, text)


@given(st.text(max_size=200) | MAPPINGS.map(json.dumps) | VALUES.map(json.dumps))
def test_any_json_is_a_configuration_or_refused(text: str) -> None:
    accepted_or_refused(parse_json_config, text)


@given(
    st.text(max_size=200)
    | st.text(alphabet="[]{}<>:,;-#'\"\\xn \n\t01.", max_size=60)
    | st.lists(
        st.sampled_from([*FIELD_NAMES, *INNER_NAMES, "{", "}", "[", "]", ":", "1", "-7", '"x"', "ALL"])
    ).map(" ".join)
)
def test_any_text_as_pbtxt_is_a_configuration_or_refused(text: str) -> None:
    accepted_or_refused(parse_pbtxt_config, text)


@settings(deadline=None)
@given(LIKELY, SHAPES, SHAPES)
def test_any_configuration_over_any_graph_is_completed_or_refused(
    mapping: dict[str, object], input_dims: list[object] | None, output_dims: list[object] | None
) -> None:
    node = helper.make_node("Identity", ["x"], ["y"])
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, input_dims)]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, output_dims)]
    graph = helper.make_model(helper.make_graph([node], "g", inputs, outputs))
    override = Override(json.dumps(mapping), {"1/model.onnx": graph.SerializeToString()})
    with tempfile.TemporaryDirectory() as folder:
        try:
            config = Repository(Path(folder)).read("m", 1, override).config
        except HeadraceError:
            return
    assert_consistent(config)


def assert_consistent(config: ModelConfig) -> None:
    """What the rest of the server relies on."""
    assert pb.ModelConfig.FromString(config.triton).max_batch_size == config.max_batch_size >= 0
    for spec in (*config.inputs, *config.outputs):
        assert all(size == -1 or size >= 1 for size in spec.dims)
        example = tuple(3 if size == -1 else size for size in spec.dims)
        assert spec.from_model(spec.to_model(example)) == example
    if config.dynamic_batching is not None:
        assert all(
            1 <= size <= config.max_batch_size for size in config.dynamic_batching.preferred_batch_sizes
        )


@given(LIKELY)
def test_yaml_and_pbtxt_of_one_configuration_are_equal(mapping: dict[str, object]) -> None:
    try:
        message = parse_yaml_config("m", yaml.safe_dump(mapping, allow_unicode=True)).message
    except ConfigError:
        return
    assert parse_pbtxt_config("m", text_format.MessageToString(message)).message == message
