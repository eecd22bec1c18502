"""Completion: what the operator wrote and what the graph declares, to one configuration."""

from pathlib import Path

import pytest
from onnx import ModelProto, TensorProto
from onnx_graphs import graph_model, model, value, write_model

from headrace.core.tensor import DataType
from headrace.errors import HeadraceError
from headrace.pb.inference import model_config_pb2 as pb
from headrace.repository.config import (
    Accelerator,
    DynamicBatching,
    InstanceGroup,
    InstanceKind,
    ModelConfig,
    Optimization,
    QueuePolicy,
    TimeoutAction,
    VersionPolicy,
    Warmup,
    WarmupData,
    WarmupInput,
)
from headrace.repository.repository import Repository, VersionSource


@pytest.fixture
def read(tmp_path: Path):
    def read_source(
        config: str = "", graph: ModelProto | None = None, default: int = 32, **files: bytes
    ) -> VersionSource:
        folder = write_model(tmp_path, graph, config)
        for name, content in files.items():
            path = folder / name.replace("__", "/").replace("_txt", ".txt")
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
        return Repository(tmp_path, default_max_batch_size=default).read("m", 1)

    return read_source


@pytest.fixture
def config_of(read):
    def config(text: str = "", graph: ModelProto | None = None, **options: object) -> ModelConfig:
        return read(text, graph, **options).config

    return config


@pytest.fixture
def problems_of(read):
    def problems(text: str, graph: ModelProto | None = None, **files: bytes) -> str:
        with pytest.raises(HeadraceError) as caught:
            read(text, graph, **files)
        return str(caught.value)

    return problems


def triton(config: ModelConfig) -> pb.ModelConfig:
    return pb.ModelConfig.FromString(config.triton)


def io(input_dims: list[object], output_dims: list[object], rest: str = "") -> str:
    """A configuration that describes both tensors."""
    return (
        f"input: [{{name: x, data_type: FP32, dims: {input_dims}}}]\n"
        f"output: [{{name: y, data_type: FP32, dims: {output_dims}}}]\n{rest}"
    )


# Names


def test_a_model_without_configuration_gets_all_defaults(config_of) -> None:
    config = config_of()
    assert (config.name, config.platform, config.backend) == ("m", "onnxruntime_onnx", "onnxruntime")
    assert config.model_filename == "model.onnx"
    assert config.version_policy == VersionPolicy(latest=1)
    assert config.max_batch_size == 32
    assert config.dynamic_batching == DynamicBatching()
    assert config.instance_groups == (InstanceGroup("m_0", 0, InstanceKind.AUTO),)
    assert config.optimization == Optimization()


def test_the_completed_configuration_can_be_shown_as_triton_does(config_of) -> None:
    shown = triton(config_of())
    assert (shown.name, shown.platform, shown.backend) == ("m", "onnxruntime_onnx", "onnxruntime")
    assert shown.max_batch_size == 32
    assert list(shown.dynamic_batching.preferred_batch_size) == [32]
    assert shown.input[0] == pb.ModelInput(name="x", data_type=pb.TYPE_FP32, dims=[4])
    assert shown.output[0] == pb.ModelOutput(name="y", data_type=pb.TYPE_FP32, dims=[3])
    assert shown.instance_group[0].name == "m_0"
    assert shown.version_policy.latest.num_versions == 1


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("name: other", "m/config.yaml:1: name: 'other' is given, but the model's folder is 'm'"),
        ("platform: onnxruntime_onx", "did you mean 'onnxruntime_onnx'?"),
        ("backend: python", "backend: 'python' is given; this server serves 'onnxruntime'"),
        ("default_model_filename: ../x.onnx", "default_model_filename"),
        ("default_model_filename: a/b.onnx", "expected the name of a file"),
    ],
)
def test_names_that_do_not_fit_are_refused(problems_of, text: str, problem: str) -> None:
    assert problem in problems_of(text)


def test_a_name_equal_to_the_folder_is_fine(config_of) -> None:
    assert config_of("name: m\nplatform: onnxruntime_onnx\nbackend: onnxruntime").name == "m"


# Batch size


@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [
        ([("batch", 4)], [("batch", 3)]),
        ([(None, 4)], [(None, 3)]),
        ([("n", 4), ("n", 2)], [("n", 3)]),
        ([("n", 4), (None, 2)], [("n", 3)]),
        ([("n", "length")], [("n", "length", 3)]),
        ([("n",)], [("n",)]),
    ],
)
def test_a_graph_with_a_variable_first_dimension_batches(config_of, inputs, outputs) -> None:
    config = config_of(graph=_graph(inputs, outputs))
    assert config.max_batch_size == 32
    assert config.dynamic_batching is not None


@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [
        ([("batch", 4), ("sequence", 4)], [("batch", 3)]),
        ([("n", "n")], [("n", 3)]),
        ([("batch", "sequence")], [("sequence", 3)]),
        ([("batch", 4)], [("batch", "batch")]),
        ([(2, 4)], [("batch", 3)]),
        ([("batch", 4)], [(2, 3)]),
        ([("batch", 4), ()], [("batch", 3)]),
        ([(1, 3, 8, 8)], [(1, 10)]),
    ],
)
def test_a_graph_whose_first_dimension_may_not_be_the_batch_is_left_alone(config_of, inputs, outputs) -> None:
    config = config_of(graph=_graph(inputs, outputs))
    assert config.max_batch_size == 0
    assert config.dynamic_batching is None
    expected = tuple(-1 if not isinstance(size, int) else size for size in inputs[0])
    assert config.inputs[0].dims == expected


def _graph(inputs, outputs) -> ModelProto:
    return graph_model(
        [value(f"x{index}", dims) for index, dims in enumerate(inputs)],
        [value(f"y{index}", dims) for index, dims in enumerate(outputs)],
    )


def test_an_output_batch_of_another_name_is_noted(read) -> None:
    source = read(graph=model(("batch", 4), ("unk__7", 3)))
    assert source.config.max_batch_size == 32
    assert any("'unk__7', is taken for the batch" in note for note in source.notes)


def test_the_default_batch_size_is_the_servers(config_of) -> None:
    assert config_of(default=4).max_batch_size == 4
    single = config_of(default=1)
    assert (single.max_batch_size, single.dynamic_batching) == (1, None)
    assert config_of(default=0).max_batch_size == 0


def test_a_given_batch_size_does_not_join_requests_by_itself(config_of) -> None:
    config = config_of("max_batch_size: 8")
    assert (config.max_batch_size, config.dynamic_batching) == (8, None)
    assert config.inputs[0].dims == (4,)


def test_a_configured_scheduler_is_kept_when_the_batch_size_is_completed(config_of) -> None:
    config = config_of("dynamic_batching: {max_queue_delay_microseconds: 5}")
    assert config.max_batch_size == 32
    assert config.dynamic_batching == DynamicBatching(max_queue_delay_us=5)


def test_a_described_model_keeps_its_batch_size_of_zero(config_of) -> None:
    config = config_of(io([-1, 4], [-1, 3]))
    assert config.max_batch_size == 0
    assert config.inputs[0].dims == (-1, 4)


def test_a_partly_described_model_is_completed(config_of) -> None:
    config = config_of("input: [{name: x, data_type: FP32, dims: [4]}]")
    assert config.max_batch_size == 32
    assert [spec.name for spec in config.outputs] == ["y"]
    assert config_of("output: [{name: y}]").inputs[0].dims == (4,)


def test_full_dims_in_part_of_a_configuration_mean_no_batching(config_of) -> None:
    config = config_of("input: [{name: x, data_type: FP32, dims: [-1, 4]}]")
    assert config.max_batch_size == 0
    assert config.outputs[0].dims == (-1, 3)


def test_a_fixed_batch_is_told_to_the_batcher(config_of) -> None:
    config = config_of("max_batch_size: 6", model((8, 4), (8, 3)))
    assert (config.max_batch_size, config.fixed_batch) == (6, 8)
    assert config.inputs[0].dims == (4,)


@pytest.mark.parametrize(
    ("text", "graph", "problem"),
    [
        ("max_batch_size: -1", model(), "-1 is given; expected 0 or more"),
        (
            "max_batch_size: 9",
            model((8, 4), (8, 3)),
            "the graph fixes the first dimension at 8; write max_batch_size: 8",
        ),
        (
            "max_batch_size: 8",
            model(("b", 4), (8, 3)),
            "neither all variable nor all of one size: input 'x' is FP32 [b, 4]",
        ),
        ("max_batch_size: 8", model((4, 4), (8, 3)), "write max_batch_size: 0"),
        ("max_batch_size: 8", model(("b", 4), ()), "output 'y' has no dimension in the graph"),
    ],
)
def test_a_batch_size_that_the_graph_cannot_have_is_refused(problems_of, text, graph, problem) -> None:
    assert problem in problems_of(text, graph)


# Tensors


def test_one_tuple_serves_as_both_dims_without_a_reshape(config_of) -> None:
    for text in ("", io([4], [3], "max_batch_size: 8"), io([-1, 4], [-1, 3])):
        spec = config_of(text).inputs[0]
        assert spec.model_dims is spec.dims


def test_dims_may_fix_what_the_graph_leaves_open(config_of) -> None:
    config = config_of(io([7], [3], "max_batch_size: 8"), model(("b", "n"), ("b", 3)))
    assert config.inputs[0].dims == (7,)


def test_a_column_without_dims_becomes_one_element_reshaped(config_of) -> None:
    config = config_of(graph=model(("batch",), ("batch",)))
    assert (config.inputs[0].dims, config.inputs[0].model_dims) == ((1,), ())
    assert triton(config).input[0].HasField("reshape")


def test_a_scalar_becomes_one_element_reshaped(config_of) -> None:
    config = config_of(graph=model((), ()))
    assert config.max_batch_size == 0
    assert (config.outputs[0].dims, config.outputs[0].model_dims) == ((1,), ())


@pytest.mark.parametrize("reshape", ["", ", reshape: {shape: []}", ", reshape: []"])
def test_a_scalar_may_be_configured_as_one_element(config_of, reshape: str) -> None:
    text = f"max_batch_size: 4\ninput: [{{name: x, dims: [1]{reshape}}}]"
    spec = config_of(text, model(("batch",), ("batch",))).inputs[0]
    assert (spec.dims, spec.model_dims) == ((1,), ())


def test_a_reshape_tells_the_graphs_dims(config_of) -> None:
    text = "max_batch_size: 4\ninput: [{name: x, dims: [-1, 4], reshape: {shape: [-1, 2, 2]}}]"
    spec = config_of(text, model(("batch", None, 2, 2), ("batch", 3))).inputs[0]
    assert (spec.dims, spec.model_dims) == ((-1, 4), (-1, 2, 2))
    assert spec.to_model((5, 4)) == (5, 2, 2)


def test_an_unknown_rank_takes_the_configured_dims(config_of, problems_of) -> None:
    config = config_of(io([7], [3], "max_batch_size: 8"), model(None, ("b", 3)))
    assert config.inputs[0].dims == (7,)
    assert "the graph does not tell the shape of input 'x'; write its dims" in problems_of(
        " ", model(None, ("b", 3))
    )


def test_types_are_completed_and_strings_are_bytes(config_of) -> None:
    graph = graph_model([value("x", [2], TensorProto.STRING)], [value("y", [2], TensorProto.BFLOAT16)])
    config = config_of(graph=graph)
    assert [config.inputs[0].datatype, config.outputs[0].datatype] == [DataType.BYTES, DataType.BF16]
    assert triton(config).input[0].data_type == pb.TYPE_STRING
    assert config_of("input: [{name: x, data_type: STRING}]", graph).inputs[0].datatype is DataType.BYTES


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "input: [{name: x, data_type: FP64, dims: [4]}]",
            "input[0].data_type: input 'x' has data_type TYPE_FP64 in config.yaml, but the graph has FP32",
        ),
        (
            "max_batch_size: 8\ninput: [{name: x, data_type: FP32, dims: [-1, 4]}]",
            "m/config.yaml:2: input[0].dims: input 'x' has dims [-1, 4] in config.yaml, but the graph has "
            "FP32 [batch, 4]; expected [4], without the batch dimension, as max_batch_size is 8",
        ),
        ("input: [{name: x, dims: [5]}]", "expected [4]"),
        ("input: [{name: x, dims: [0]}]", "input[0].dims[0]: 0 is given; expected 1 or more, or -1"),
        ("input: [{name: x, dims: [-2]}]", "input[0].dims[0]: -2"),
        ("input: [{name: X}]", "the graph has no input 'X'; did you mean 'x'?"),
        ("input: [{name: X}]", "the graph's input 'x' (FP32 [batch, 4]) is not listed"),
        ("output: [{name: z}]", "the graph has no output 'z'; it has y"),
        ("output: [{dims: [3]}]", "output[0].name: no name is given; expected one of y"),
        ("output: [{name: y}, {name: y}]", "output[1].name: 'y' is listed twice"),
        ("input: [{name: x, reshape: {shape: [4]}}]", "has a reshape but no dims"),
        (
            "max_batch_size: 2\ninput: [{name: x, dims: [2, 3], reshape: {shape: [4]}}]",
            "does not hold the same",
        ),
        (
            "max_batch_size: 2\ninput: [{name: x, dims: [4], reshape: {shape: [2, 2]}}]",
            "input[0].reshape.shape: input",
        ),
        ("max_batch_size: 2\ninput: [{name: x, dims: [4], reshape: {shape: [-3]}}]", "reshape.shape[0]: -3"),
        ("input: [{name: x, optional: true}]", "the graph has no default for 'x'"),
    ],
)
def test_what_contradicts_the_graph_is_refused(problems_of, text: str, problem: str) -> None:
    assert problem in problems_of(text)


def test_an_input_with_a_default_is_served_only_where_it_is_configured(config_of) -> None:
    weights = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1, 2], float_data=[0, 0])
    graph = graph_model([value("x", [1, 2]), value("w", [1, 2])], [value("y", [1, 2])], [weights])
    assert [spec.name for spec in config_of(graph=graph).inputs] == ["x"]
    config = config_of("input: [{name: x}, {name: w, optional: true}]", graph)
    assert [(spec.name, spec.is_optional) for spec in config.inputs] == [("x", False), ("w", True)]


def test_outputs_may_be_a_subset(config_of) -> None:
    graph = graph_model([value("x", ["n", 1])], [value("y", ["n", 1]), value("z", ["n", 1])])
    assert [spec.name for spec in config_of("output: [{name: z}]", graph).outputs] == ["z"]


def test_an_unservable_output_must_be_left_out(config_of, problems_of) -> None:
    from onnx import helper

    zipped = helper.make_tensor_sequence_value_info("scores", TensorProto.FLOAT, None)
    graph = graph_model([value("x", ["n", 1])], [value("y", ["n", 1]), zipped])
    assert "'scores' is a sequence(FLOAT tensor), which no tensor can carry; list" in problems_of(" ", graph)
    assert "no tensor can carry" in problems_of("output: [{name: scores}]", graph)
    assert config_of("output: [{name: y}]", graph).outputs[0].name == "y"


# Labels


def test_labels_are_read_from_the_models_folder(read) -> None:
    text = "output: [{name: y, label_filename: labels.txt}]"
    source = read(text, labels_txt="cat\r\ndog\nmåne\n".encode())
    assert source.config.outputs[0].labels == ("cat", "dog", "måne")
    assert source.notes == ()
    assert any("holds 1 labels" in note for note in read(text, labels_txt=b"cat").notes)


def test_labels_are_not_read_unasked(config_of) -> None:
    assert config_of(labels_txt=b"cat").outputs[0].labels == ()


@pytest.mark.parametrize(
    "filename", ["../secret", "/etc/passwd", "none.txt", "link.txt", "latin.txt", "big.txt"]
)
def test_labels_from_elsewhere_are_refused(problems_of, tmp_path: Path, filename: str) -> None:
    folder = write_model(tmp_path)
    (tmp_path / "secret").write_text("secret")
    (folder / "link.txt").symlink_to(tmp_path / "secret")
    (folder / "latin.txt").write_bytes(b"\xe5")
    (folder / "big.txt").write_bytes(bytes((1 << 20) + 1))
    assert "output[0].label_filename" in problems_of(f"output: [{{name: y, label_filename: {filename}}}]")


# Scheduling


def test_dynamic_batching_is_taken_over(config_of) -> None:
    config = config_of(
        """
max_batch_size: 8
dynamic_batching:
  preferred_batch_size: [8, 4]
  max_queue_delay_microseconds: 100
  priority_levels: 2
  default_priority_level: 1
  default_queue_policy: {timeout_action: DELAY, default_timeout_microseconds: 7, allow_timeout_override: true}
  priority_queue_policy: {2: {max_queue_size: 5}}
"""
    )
    default = QueuePolicy(TimeoutAction.DELAY, 7, True, 0)
    assert config.dynamic_batching == DynamicBatching(
        preferred_batch_sizes=(4, 8),
        max_queue_delay_us=100,
        priority_levels=2,
        default_priority_level=1,
        default_queue_policy=default,
        priority_queue_policies={2: QueuePolicy(max_queue_size=5)},
    )
    assert config.queue_policy == default


def test_a_model_that_does_not_batch_keeps_only_the_queue_policy(read) -> None:
    source = read(io([-1, 4], [-1, 3], "dynamic_batching: {default_queue_policy: {max_queue_size: 3}}"))
    assert source.config.dynamic_batching is None
    assert source.config.queue_policy.max_queue_size == 3
    assert any("dynamic_batching: has no effect" in note for note in source.notes)


@pytest.mark.parametrize(
    ("batching", "problem"),
    [
        (
            "preferred_batch_size: [4, 9]",
            "preferred_batch_size[1]: 9 is given; expected 1 to max_batch_size, which is 8",
        ),
        ("preferred_batch_size: [0]", "preferred_batch_size[0]: 0"),
        ("preferred_batch_size: [-1]", "preferred_batch_size[0]: -1"),
        ("priority_levels: 2", "default_priority_level: 0 is given; expected 1 to 2"),
        ("{priority_levels: 2, default_priority_level: 3}", "3 is given; expected 1 to 2"),
        ("default_priority_level: 1", "1 is given, but priority_levels is 0"),
        ("priority_queue_policy: {1: {}}", "priority_queue_policy.1: level 1 is given"),
        (
            "{priority_levels: 1, default_priority_level: 1, priority_queue_policy: {2: {}}}",
            "expected 1 to priority_levels, which is 1",
        ),
        (
            "{preserve_ordering: true, priority_levels: 2, default_priority_level: 1}",
            "excludes priority_levels 2",
        ),
        (
            "{preserve_ordering: true, default_queue_policy: {timeout_action: DELAY}}",
            "excludes the timeout_action",
        ),
    ],
)
def test_contradictory_dynamic_batching_is_refused(problems_of, batching: str, problem: str) -> None:
    inner = batching if batching.startswith("{") else f"{{{batching}}}"
    assert problem in problems_of(f"max_batch_size: 8\ndynamic_batching: {inner}")


# Instances


def test_instance_groups_are_taken_over(config_of) -> None:
    config = config_of("instance_group: [{count: 2, kind: CPU}, {name: fast, gpus: [0, 1]}, {}]")
    assert config.instance_groups == (
        InstanceGroup("m_0", 2, InstanceKind.CPU),
        InstanceGroup("fast", 0, InstanceKind.AUTO, (0, 1)),
        InstanceGroup("m_2", 0, InstanceKind.AUTO),
    )


@pytest.mark.parametrize(
    ("group", "problem"),
    [
        ("count: -1", "instance_group[0].count: -1"),
        ("kind: KIND_MODEL", "KIND_MODEL is not for ONNX models"),
        ("{kind: CPU, gpus: [0]}", "instance_group[0].gpus: [0] are given for KIND_CPU"),
        ("{kind: GPU, gpus: [-1]}", "instance_group[0].gpus[0]: -1"),
        ("rate_limiter: {resources: [{name: r, count: 1}]}", "rate_limiter.resources: is not supported"),
        ("{name: a}, {name: a}", "instance_group[1].name: 'a' is the name of an earlier group"),
    ],
)
def test_contradictory_instance_groups_are_refused(problems_of, group: str, problem: str) -> None:
    inner = group if group.startswith("{") else f"{{{group}}}"
    assert problem in problems_of(f"instance_group: [{inner}]")


# Parameters and optimization


def test_known_parameters_are_normalised_and_others_pass(config_of) -> None:
    config = config_of(
        "parameters: {intra_op_thread_count: 02, enable_mem_arena: true, mine: x, "
        "session.set_denormal_as_zero: 1}"
    )
    assert config.parameters == {
        "enable_mem_arena": "1",
        "intra_op_thread_count": "2",
        "mine": "x",
        "session.set_denormal_as_zero": "1",
    }


def test_a_parameter_that_is_nearly_known_is_noted(read) -> None:
    assert any(
        "did you mean 'intra_op_thread_count'" in note
        for note in read("parameters: {intra_op_threadcount: 1}").notes
    )


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("intra_op_thread_count", "-1"),
        ("inter_op_thread_count", "two"),
        ("execution_mode", "2"),
        ("enable_mem_arena", "2"),
        ("enable_mem_pattern", "on"),
        ("memory.enable_memory_arena_shrinkage", "cpu"),
        ("gpu_mem_limit", "1GB"),
        ("arena_extend_strategy", "fast"),
        ("cudnn_conv_algo_search", "3"),
        ("do_copy_in_default_stream", ""),
        ("execution_timeout_ms", "1.5"),
        ("session.model_external_initializers_file_folder_path", "/etc"),
        ("session.load_model_format", "ORT"),
        ("session.optimized_model_filepath", "/tmp/x"),
        ("session.use_ort_model_bytes_directly", "1"),
        ("ep.context_file_path", "x"),
        ("session.custom_op_library", "x.so"),
    ],
)
def test_a_parameter_with_a_wrong_value_is_refused(problems_of, name: str, text: str) -> None:
    assert f"parameters.{name}: " in problems_of(f"parameters: {{{name}: '{text}'}}")


def test_optimization_is_taken_over(config_of) -> None:
    config = config_of(
        """
optimization:
  graph: {level: 1}
  cuda: {graphs: true}
  execution_accelerators:
    gpu_execution_accelerator: [{name: tensorrt, parameters: {precision_mode: FP16}}]
    cpu_execution_accelerator: [{name: openvino}]
"""
    )
    assert config.optimization == Optimization(
        1, (Accelerator("tensorrt", {"precision_mode": "FP16"}),), (Accelerator("openvino"),), True
    )


@pytest.mark.parametrize(
    ("optimization", "problem"),
    [
        ("graph: {level: 3}", "optimization.graph.level: 3"),
        ("execution_accelerators: {gpu_execution_accelerator: [{name: tensort}]}", "did you mean 'tensorrt'"),
        (
            "execution_accelerators: {gpu_execution_accelerator: [{name: tensorrt, parameters: "
            "{trt_extra_plugin_lib_paths: x.so}}]}",
            "libraries are never loaded",
        ),
    ],
)
def test_an_optimization_that_cannot_be_is_refused(problems_of, optimization: str, problem: str) -> None:
    assert problem in problems_of(f"optimization: {{{optimization}}}")


# Versions and unsupported fields


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("all", VersionPolicy(latest=None)),
        ("{latest: {}}", VersionPolicy(latest=1)),
        ("{latest: 3}", VersionPolicy(latest=3)),
        ("{specific: [2, 1, 2]}", VersionPolicy(latest=None, specific=(1, 2))),
    ],
)
def test_the_version_policy_is_taken_over(config_of, text: str, policy: VersionPolicy) -> None:
    assert config_of(f"version_policy: {text}").version_policy == policy


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("version_policy: {specific: [0]}", "version_policy.specific.versions[0]: 0"),
        ("version_policy: {specific: {}}", "no versions are listed"),
        ("sequence_batching: {}", "sequence_batching: is not supported by this server"),
        ("ensemble_scheduling: {}", "ensemble_scheduling: is not supported"),
        (
            "model_transaction_policy: {decoupled: true}",
            "model_transaction_policy.decoupled: true is not supported",
        ),
        ("response_cache: {enable: true}", "response_cache.enable: true is not supported"),
        ("input: [{name: x, is_shape_tensor: true}]", "input[0].is_shape_tensor: true is not supported"),
        (
            "input: [{name: x, allow_ragged_batch: true}]",
            "input[0].allow_ragged_batch: true is not supported",
        ),
        ("batch_input: [{target_name: [x]}]", "batch_input: is not supported"),
        ("batch_output: [{target_name: [y]}]", "batch_output: is not supported"),
        ("model_repository_agents: {agents: [{name: a}]}", "model_repository_agents: is not supported"),
        ("model_operations: {op_library_filename: [a.so]}", "never loaded"),
        ("runtime: x.so", "runtime: is not supported"),
        ("cc_model_filenames: {'7.5': x.onnx}", "cc_model_filenames: is not supported"),
    ],
)
def test_what_this_server_does_not_serve_is_refused(problems_of, text: str, problem: str) -> None:
    assert problem in problems_of(text)


@pytest.mark.parametrize(
    "text",
    [
        "optimization: {priority: PRIORITY_MAX}",
        "optimization: {input_pinned_memory: {enable: true}}",
        "optimization: {cuda: {busy_wait_events: true}}",
        "instance_group: [{host_policy: a}]",
        "instance_group: [{passive: true}]",
        "instance_group: [{rate_limiter: {priority: 1}}]",
        "input: [{name: x, format: FORMAT_NCHW}]",
        "model_metrics: {}",
    ],
)
def test_what_has_no_effect_is_noted(read, text: str) -> None:
    assert any("has no effect" in note for note in read(text).notes)


def test_settings_that_are_off_or_harmless_pass_without_a_word(read) -> None:
    text = "response_cache: {enable: false}\nmodel_transaction_policy: {decoupled: false}"
    source = read(f"{text}\nmetric_tags: {{team: a}}")
    assert source.config.metric_tags == {"team": "a"}
    assert source.notes == ()


def test_every_problem_is_told_at_once_in_the_files_order(problems_of) -> None:
    text = (
        "max_batch_size: -1\ninput:\n- name: x\n  data_type: FP64\nresponse_cache: {enable: true}\nbackend: b"
    )
    assert [line.split(": ")[0] for line in problems_of(text).splitlines()] == [
        "m/config.yaml:1",
        "m/config.yaml:4",
        "m/config.yaml:5",
        "m/config.yaml:6",
    ]


# Warm-up


def test_warmups_are_taken_over_with_their_files(read) -> None:
    text = """
model_warmup:
- {name: zeros, batch_size: 4, count: 2, inputs: {x: {data_type: FP32, dims: [4], zero_data: true}}}
- {name: from file, inputs: {x: {input_data_file: rows}}}
"""
    source = read(text, warmup__rows=bytes(20))
    assert source.config.warmups == (
        Warmup("zeros", 4, 2, (WarmupInput("x", (4,), WarmupData.ZERO),)),
        Warmup("from file", 1, 1, (WarmupInput("x", (4,), WarmupData.FILE, "rows"),)),
    )
    assert source.warmup_data == {"rows": bytes(16)}


def test_a_warmup_of_a_model_that_does_not_batch_has_no_batch_size(config_of) -> None:
    text = io([-1, 4], [-1, 3], "model_warmup: [{inputs: {x: {dims: [2, 4], random_data: true}}}]")
    assert config_of(text).warmups == (Warmup("", 0, 1, (WarmupInput("x", (2, 4), WarmupData.RANDOM),)),)


@pytest.mark.parametrize(
    ("warmup", "problem"),
    [
        ("inputs: {y: {zero_data: true}}", "model_warmup[0].inputs.y: the model has no input 'y'"),
        ("inputs: {}", "model_warmup[0].inputs: input 'x' is missing"),
        ("inputs: {x: {}}", "no data is given"),
        ("inputs: {x: {data_type: FP64, zero_data: true}}", "TYPE_FP64 is given, but the input is FP32"),
        ("inputs: {x: {dims: [5], zero_data: true}}", "[5] is given; expected sizes of 1 or more that fit"),
        ("inputs: {x: {dims: [-1], zero_data: true}}", "[-1] is given"),
        ("inputs: {x: {input_data_file: none}}", "does not exist"),
        ("inputs: {x: {input_data_file: short}}", "'short' holds 8 bytes, but [4] of FP32 takes 16"),
        ("inputs: {x: {input_data_file: ../config.yaml}}", "has a '..'"),
        ("inputs: {x: {input_data_file: /etc/passwd}}", "absolute path"),
        ("{batch_size: 33, inputs: {x: {zero_data: true}}}", "batch_size: 33 is given; expected at most 32"),
    ],
)
def test_a_warmup_that_does_not_fit_is_refused(problems_of, warmup: str, problem: str) -> None:
    inner = warmup if warmup.startswith("{") else f"{{{warmup}}}"
    assert problem in problems_of(f"model_warmup: [{inner}]", warmup__short=bytes(8))
