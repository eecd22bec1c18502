"""ONNX files: what is read of them, and every way to reach beyond them refused."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnx_graphs import external_tensor, graph_model, linear, make_external, model, value

from headrace.core.tensor import DataType
from headrace.errors import LoadError
from headrace.repository.files.disk import DiskFolder
from headrace.repository.graph.onnx_model import GraphTensor, OnnxModel
from headrace.repository.graph.reading import read_graph
from headrace.repository.problems import InvalidModel

WEIGHTS = np.eye(4, 3, dtype=np.float32).tobytes()


def read(folder: Path, graph: ModelProto | bytes, filename: str = "model.onnx") -> OnnxModel:
    """Writes the model into the folder of a version and reads it back."""
    data = graph if isinstance(graph, bytes) else graph.SerializeToString()
    (folder / filename).write_bytes(data)
    with DiskFolder.open(folder, "m/1") as version:
        return read_graph(version, filename)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "secret.bin").write_bytes(WEIGHTS)
    version = tmp_path / "m" / "1"
    version.mkdir(parents=True)
    (version / "w.bin").write_bytes(WEIGHTS)
    return version


def external_linear(**entries: str) -> ModelProto:
    """A linear model whose weights lie where `entries` say."""
    graph = linear()
    make_external(graph.graph.initializer[0], entries)
    return graph


def test_a_graph_tells_inputs_outputs_and_metadata(folder: Path) -> None:
    graph = linear()
    helper.set_model_props(graph, {"author": "someone"})
    read_model = read(folder, graph)
    assert read_model.inputs == (GraphTensor("x", DataType.FP32, (-1, 4), ("batch", "")),)
    assert read_model.outputs == (GraphTensor("y", DataType.FP32, (-1, 3), ("batch", "")),)
    assert read_model.metadata == {"author": "someone"}
    assert read_model.opsets == {"ai.onnx": 17}
    assert read_model.byte_size == len(read_model.data)
    assert list(read_model.sha256) == ["model.onnx"]


def test_shapes_may_be_unknown_scalar_or_unnamed(folder: Path) -> None:
    inputs = [value("any", None), value("scalar", []), value("open", [None, 2]), value("negative", [-1])]
    read_model = read(folder, graph_model(inputs, [value("y", None)]))
    assert [tensor.shape for tensor in read_model.inputs] == [None, (), (-1, 2), (-1,)]


def test_inputs_with_a_default_are_optional(folder: Path) -> None:
    weights = numpy_helper.from_array(np.zeros(2, np.float32), "w")
    graph = graph_model([value("x", [2]), value("w", [2])], [value("y", [2])], [weights])
    assert [tensor.is_optional for tensor in read(folder, graph).inputs] == [False, True]
    graph.ir_version = 3
    assert [tensor.name for tensor in read(folder, graph).inputs] == ["x"]


@pytest.mark.parametrize("elem_type", [TensorProto.COMPLEX64, TensorProto.FLOAT8E5M2, TensorProto.INT4])
def test_an_input_of_an_unservable_type_is_named(folder: Path, elem_type: int) -> None:
    graph = graph_model([value("x", [1], elem_type)], [value("y", [1])])
    with pytest.raises(LoadError, match=r"input 'x' is a .* tensor, which cannot be served"):
        read(folder, graph)


def test_a_sequence_input_is_named(folder: Path) -> None:
    sequence = helper.make_tensor_sequence_value_info("x", TensorProto.FLOAT, None)
    with pytest.raises(LoadError, match=r"input 'x' is a sequence\(FLOAT tensor\)"):
        read(folder, graph_model([sequence], [value("y", [1])]))


def test_an_output_that_is_no_tensor_is_set_apart(folder: Path) -> None:
    scores = helper.make_map_type_proto(
        TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, None)
    )
    zipped = helper.make_value_info("scores", helper.make_sequence_type_proto(scores))
    read_model = read(folder, graph_model([value("x", [1])], [value("y", [1]), zipped]))
    assert [tensor.name for tensor in read_model.outputs] == ["y"]
    assert read_model.unservable == {"scores": "sequence(map(INT64, FLOAT tensor))"}


@pytest.mark.parametrize("location", ["w.bin", "./w.bin", "sub/w.bin"])
def test_external_weights_are_read_once_with_the_graph(folder: Path, location: str) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "w.bin").write_bytes(WEIGHTS)
    read_model = read(folder, external_linear(location=location, offset="0", length="48"))
    assert read_model.external == {location: WEIGHTS}
    assert set(read_model.sha256) == {"model.onnx", location.removeprefix("./")}
    assert read_model.byte_size == len(read_model.data) + len(WEIGHTS)


def test_a_model_may_be_a_folder(folder: Path) -> None:
    inner = folder / "model.onnx"
    inner.mkdir()
    (inner / "model.onnx").write_bytes(external_linear(location="weights").SerializeToString())
    (inner / "weights").write_bytes(WEIGHTS)
    with DiskFolder.open(folder, "m/1") as version:
        read_model = read_graph(version, "model.onnx")
    assert set(read_model.sha256) == {"model.onnx/model.onnx", "model.onnx/weights"}


def test_a_model_folder_confines_its_weights(folder: Path) -> None:
    inner = folder / "model.onnx"
    inner.mkdir()
    (inner / "model.onnx").write_bytes(external_linear(location="../w.bin").SerializeToString())
    with DiskFolder.open(folder, "m/1") as version, pytest.raises(LoadError, match=r"'\.\.'"):
        read_graph(version, "model.onnx")


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("../../secret.bin", r"has a '\.\.'"),
        ("sub/../../../secret.bin", r"has a '\.\.'"),
        ("..\\..\\secret.bin", "backslash"),
        ("{tmp}/secret.bin", "absolute path"),
        ("C:secret.bin", "absolute path"),
        ("", "empty"),
        ("w.bin\0", "control character"),
        ("none.bin", "does not exist"),
        ("sub", "not a regular file|is a folder"),
        ("*/_ORT_MEM_ADDR_/*", "expected a file beside the graph"),
    ],
)
def test_a_location_that_leads_elsewhere_is_refused(
    folder: Path, tmp_path: Path, location: str, reason: str
) -> None:
    (folder / "sub").mkdir()
    with pytest.raises(InvalidModel, match=rf"m/1/model.onnx: initializer 'w' .*({reason})"):
        read(folder, external_linear(location=location.replace("{tmp}", str(tmp_path))))


def test_external_data_behind_a_link_is_refused(folder: Path, tmp_path: Path) -> None:
    (folder / "soft").symlink_to(tmp_path / "secret.bin")
    (folder / "soft_folder").symlink_to(tmp_path)
    os.link(tmp_path / "secret.bin", folder / "hard")
    with pytest.raises(LoadError, match="symbolic link"):
        read(folder, external_linear(location="soft"))
    with pytest.raises(LoadError, match="symbolic link"):
        read(folder, external_linear(location="soft_folder/secret.bin"))
    with pytest.raises(LoadError, match="hard links"):
        read(folder, external_linear(location="hard"))


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ({"offset": "1"}, r"needs bytes 1 to 49 of 'w\.bin', which holds 48 bytes"),
        ({"offset": "9223372036854775807"}, "needs bytes"),
        ({"offset": "-1"}, "offset '-1'"),
        ({"offset": "99999999999999999999999"}, "offset"),
        ({"offset": "0x0"}, "offset"),
        ({"offset": "١"}, "offset"),
        ({"length": "49"}, "names 49 bytes of external data, but its dims and type need 48"),
        ({"length": "0"}, "names 0 bytes"),
        ({"length": "-48"}, "length '-48'"),
        ({"basepath": "/"}, "key 'basepath'"),
    ],
)
def test_a_part_beyond_the_file_is_refused(folder: Path, entries: dict[str, str], reason: str) -> None:
    with pytest.raises(InvalidModel, match=reason):
        read(folder, external_linear(location="w.bin", **entries))


def test_contradictory_external_data_is_refused(folder: Path) -> None:
    twice = external_linear(location="w.bin")
    twice.graph.initializer[0].external_data.add(key="location", value="/etc/passwd")
    with pytest.raises(InvalidModel, match="twice"):
        read(folder, twice)
    inline = external_linear(location="w.bin")
    inline.graph.initializer[0].data_location = TensorProto.DEFAULT
    with pytest.raises(InvalidModel, match="inside the graph"):
        read(folder, inline)
    strings = external_linear(location="w.bin")
    strings.graph.initializer[0].data_type = TensorProto.STRING
    with pytest.raises(InvalidModel, match="strings"):
        read(folder, strings)


def _attribute(name: str, content: object) -> Callable[[ModelProto], None]:
    def hide(graph: ModelProto) -> None:
        graph.graph.node.append(helper.make_node("Constant", [], ["c"], name="hiding", **{name: content}))

    return hide


def _sparse(location_of: str) -> TensorProto:
    values = numpy_helper.from_array(np.zeros(4, np.float32), "values")
    indices = numpy_helper.from_array(np.arange(4), "indices")
    sparse = helper.make_sparse_tensor(values, indices, [4])
    target = sparse.values if location_of == "values" else sparse.indices
    make_external(target, {"location": "w.bin"})
    return sparse


def _subgraph() -> "helper.GraphProto":
    return helper.make_graph([], "branch", [], [value("b", [4])], [external_tensor("w.bin")])


def _nested_subgraph() -> "helper.GraphProto":
    node = helper.make_node("If", ["condition"], ["o"], then_branch=_subgraph(), else_branch=_subgraph())
    return helper.make_graph([node], "outer", [], [value("o", [4])])


def _function(graph: ModelProto) -> None:
    node = helper.make_node("Constant", [], ["c"], value=external_tensor("w.bin"))
    graph.functions.append(helper.make_function("local", "f", [], ["c"], [node], []))


def _function_default(graph: ModelProto) -> None:
    function = helper.make_function("local", "f", [], ["c"], [], [])
    function.attribute_proto.append(helper.make_attribute("value", external_tensor("w.bin")))
    graph.functions.append(function)


def _training(graph: ModelProto) -> None:
    graph.training_info.add().initialization.CopyFrom(_subgraph())


def _training_algorithm(graph: ModelProto) -> None:
    graph.training_info.add().algorithm.CopyFrom(_nested_subgraph())


def _mistyped_attribute(graph: ModelProto) -> None:
    """An attribute that says it is a number, and carries a tensor, too."""
    _attribute("value", external_tensor("w.bin"))(graph)
    graph.graph.node[-1].attribute[0].type = 2


@pytest.mark.parametrize(
    "hide",
    [
        _attribute("value", external_tensor("w.bin")),
        _attribute("many", [external_tensor("w.bin")]),
        _attribute("sparse_value", _sparse("values")),
        _attribute("sparse_values", [_sparse("indices")]),
        _attribute("body", _subgraph()),
        _attribute("bodies", [_subgraph()]),
        _attribute("body", _nested_subgraph()),
        lambda graph: graph.graph.sparse_initializer.append(_sparse("values")),
        lambda graph: graph.graph.sparse_initializer.append(_sparse("indices")),
        _function,
        _function_default,
        _training,
        _training_algorithm,
        _mistyped_attribute,
    ],
)
def test_external_data_anywhere_but_in_main_initializers_is_refused(
    folder: Path, hide: Callable[[ModelProto], None]
) -> None:
    (folder / "w.bin").write_bytes(bytes(16))
    graph = linear()
    hide(graph)
    with pytest.raises(InvalidModel, match="only initializers of the main graph may have it"):
        read(folder, graph)


def _tensor(**fields: object) -> TensorProto:
    return TensorProto(name="w", **{"data_type": TensorProto.FLOAT, "dims": [2], **fields})


@pytest.mark.parametrize(
    ("tensor", "reason"),
    [
        (_tensor(raw_data=bytes(4)), "declares 8 bytes, but holds 4"),
        (_tensor(), "declares 2 values in float_data, but holds 0"),
        (_tensor(dims=[-1], raw_data=b""), "negative size"),
        (_tensor(dims=[1 << 40], raw_data=b""), "declares 4398046511104 bytes"),
        (_tensor(dims=[1 << 62, 1 << 62], raw_data=b""), "elements"),
        (_tensor(dims=[1] * 65, raw_data=bytes(4)), "65 dims"),
        (_tensor(data_type=0, raw_data=b""), "UNDEFINED"),
        (_tensor(data_type=99, raw_data=b""), "type 99"),
        (_tensor(data_type=TensorProto.STRING, string_data=[b"a"]), "declares 2 strings, but holds 1"),
        (_tensor(data_type=TensorProto.INT4, dims=[3], raw_data=bytes(3)), "declares 2 bytes, but holds 3"),
        (_tensor(data_type=TensorProto.COMPLEX64, float_data=[1.0, 2.0]), "declares 4 values in float_data"),
        (_tensor(raw_data=bytes(8), segment=TensorProto.Segment(begin=0)), "segment"),
    ],
)
def test_an_initializer_that_is_not_what_it_declares_is_refused(
    folder: Path, tensor: TensorProto, reason: str
) -> None:
    graph = model()
    graph.graph.initializer.append(tensor)
    with pytest.raises(InvalidModel, match=f"initializer 'w' .*{reason}"):
        read(folder, graph)


@pytest.mark.parametrize(
    "tensor",
    [
        _tensor(float_data=[1.0, 2.0]),
        _tensor(data_type=TensorProto.FLOAT16, int32_data=[1, 2]),
        _tensor(data_type=TensorProto.INT4, dims=[3], int32_data=[1, 2]),
        _tensor(data_type=TensorProto.UINT32, uint64_data=[1, 2]),
        _tensor(data_type=TensorProto.STRING, string_data=[b"a", b"b"]),
        _tensor(data_type=TensorProto.BOOL, int32_data=[1, 0]),
        _tensor(dims=[], float_data=[1.0]),
        _tensor(dims=[0, 3]),
    ],
)
def test_an_initializer_may_hold_its_data_in_typed_fields(folder: Path, tensor: TensorProto) -> None:
    graph = model()
    graph.graph.initializer.append(tensor)
    assert read(folder, graph).inputs


def test_a_sparse_initializer_with_absurd_dense_dims_is_refused(folder: Path) -> None:
    values = numpy_helper.from_array(np.zeros(1, np.float32), "values")
    indices = numpy_helper.from_array(np.zeros(1, np.int64), "indices")
    graph = model()
    graph.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [1 << 32]))
    with pytest.raises(InvalidModel, match="sparse initializer 'values' declares more than"):
        read(folder, graph)


def test_a_compiled_engine_is_refused(folder: Path) -> None:
    graph = model()
    graph.graph.node.append(
        helper.make_node("EPContext", ["x"], ["y"], name="engine", domain="com.microsoft")
    )
    with pytest.raises(InvalidModel, match="node 'engine' is an EPContext"):
        read(folder, graph)


def test_every_problem_of_a_graph_is_told(folder: Path) -> None:
    graph = model()
    graph.graph.initializer.extend([_tensor(), external_tensor("../x"), _tensor(dims=[-1])])
    with pytest.raises(InvalidModel) as caught:
        read(folder, graph)
    assert len(caught.value.problems) == 3


def test_problems_without_number_are_cut_short(folder: Path) -> None:
    graph = model()
    graph.graph.initializer.extend([_tensor()] * 100)
    with pytest.raises(InvalidModel) as caught:
        read(folder, graph)
    assert len(caught.value.problems) == 20


@pytest.mark.parametrize(("depth", "reason"), [(20, "nested more than 16 deep"), (1000, "not an ONNX model")])
def test_deeply_nested_graphs_are_refused(folder: Path, depth: int, reason: str) -> None:
    def field(number: int, content: bytes) -> bytes:
        size, encoded = len(content), b""
        while size > 127:
            encoded, size = encoded + bytes([size & 127 | 128]), size >> 7
        return bytes([number << 3 | 2]) + encoded + bytes([size]) + content

    graph = b""
    for _ in range(depth):
        graph = field(1, field(5, field(6, graph)))
    with pytest.raises(InvalidModel, match=reason):
        read(folder, model().SerializeToString() + field(7, graph))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not a model",
        linear().SerializeToString()[:-20],
        b"\0" * 100,
        b"\x08\x08\x12\0ORTM" + b"\0" * 50,
    ],
)
def test_what_is_not_an_onnx_model_is_refused(folder: Path, data: bytes) -> None:
    with pytest.raises(LoadError):
        read(folder, data)


@pytest.mark.parametrize("name", [b"\x05batch", b"\x01x", b"\x08location", b"\x05w.bin"])
def test_names_that_are_not_text_are_refused(folder: Path, name: bytes) -> None:
    data = external_linear(location="w.bin").SerializeToString()
    with pytest.raises(LoadError, match="not UTF-8"):
        read(folder, data.replace(name, name[:-1] + b"\xff"))


def test_a_missing_model_tells_what_there_is(folder: Path) -> None:
    (folder / "resnet.onnx").write_bytes(b"")
    with (
        DiskFolder.open(folder, "m/1") as version,
        pytest.raises(
            LoadError, match=r"m/1 has no file 'model.onnx'; it has resnet.onnx: .*default_model_filename"
        ),
    ):
        read_graph(version, "model.onnx")


def test_a_linked_model_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(linear().SerializeToString())
    (folder / "model.onnx").symlink_to(tmp_path / "model.onnx")
    with DiskFolder.open(folder, "m/1") as version, pytest.raises(LoadError, match="symbolic link"):
        read_graph(version, "model.onnx")


def test_twin_names_are_refused(folder: Path) -> None:
    with pytest.raises(LoadError, match="two inputs named 'x'"):
        read(folder, graph_model([value("x", [1]), value("x", [1])], [value("y", [1])]))
