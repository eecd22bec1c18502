"""Reads a version's ONNX file and its external data, once, and refuses what could reach anything else."""

from contextlib import ExitStack
from hashlib import sha256
from typing import TypeAlias

from google.protobuf.message import DecodeError

from headrace.errors import LoadError
from headrace.repository.files.folder import EntryKind, FileRefused, Folder
from headrace.repository.files.names import PathRefused
from headrace.repository.graph.cost import has_fixed_cost
from headrace.repository.graph.external_data import ExternalPart, external_part, is_external
from headrace.repository.graph.onnx_model import OnnxModel, signature
from headrace.repository.graph.skeleton import Skeleton
from headrace.repository.graph.tensor_proto import MAX_TENSOR_BYTES, check_inline, element_count
from headrace.repository.graph.walk import Placed, PlacedNode, PlacedSparseTensor, PlacedTensor, walk
from headrace.repository.problems import Findings, InvalidModel

# A protobuf message cannot be larger.
_MAX_GRAPH_BYTES = (1 << 31) - 1
# A sparse initializer becomes a dense one when the model is loaded.
_MAX_DENSE_ELEMENTS = 1 << 31
_MAX_PROBLEMS = 20

# An initializer's place, for messages, and what it names.
_PlacedParts: TypeAlias = list[tuple[str, ExternalPart]]


def read_graph(version: Folder, filename: str) -> OnnxModel:
    """The model in the file `filename` of a version's folder, or in the folder of that name.

    LoadError where a file is refused; InvalidModel, which is one, with everything wrong in the graph.
    """
    with ExitStack() as opened:
        folder, prefix = version, ""
        if version.entries().get(filename) is EntryKind.FOLDER:
            folder, prefix = opened.enter_context(version.enter(filename)), f"{filename}/"
        _check_present(folder, filename)
        data = folder.read(filename, _MAX_GRAPH_BYTES)
        findings = Findings(f"{folder.place}/{filename}")
        return _read(data, filename, folder, prefix, findings)


def _read(data: bytes, filename: str, folder: Folder, prefix: str, findings: Findings) -> OnnxModel:
    try:
        skeleton = _parse(data)
        model = skeleton.model
        declared = signature(model)
        parts = _inspect(skeleton, findings)
    except DecodeError as error:
        findings.refuse("", f"is not an ONNX model: {error}")
    except ValueError as error:
        findings.refuse("", str(error))
    if findings.problems:
        raise InvalidModel(findings.problems)
    contents = _read_external(parts, folder, findings)
    if findings.problems:
        raise InvalidModel(findings.problems)
    files = {filename: data, **contents}
    return OnnxModel(
        data=data,
        external={part.location: contents[part.path] for _, part in parts},
        inputs=declared.inputs,
        outputs=declared.outputs,
        unservable=declared.unservable,
        metadata=declared.metadata,
        sha256={prefix + path: sha256(content).hexdigest() for path, content in files.items()},
        ir_version=model.ir_version,
        opsets=declared.opsets,
        producer=declared.producer,
        has_fixed_cost=has_fixed_cost(model),
    )


def _check_present(folder: Folder, filename: str) -> None:
    entries = folder.entries()
    if filename in entries:
        return
    others = ", ".join(name for name in entries if name.endswith(".onnx"))
    hint = f"; it has {others}: rename it, or set default_model_filename" if others else ""
    raise LoadError(f"{folder.place} has no file {filename!r}{hint}")


def _parse(data: bytes) -> Skeleton:
    if data[4:8] == b"ORTM":
        # ONNX Runtime would take these bytes for its own format and not for the graph checked here.
        raise ValueError("is in ONNX Runtime's own format (ORTM); expected an ONNX model")
    skeleton = Skeleton.parse(data)
    if not skeleton.model.graph.output:
        raise ValueError(f"is not an ONNX model: its {len(data)} bytes hold no graph with an output")
    return skeleton


def _inspect(skeleton: Skeleton, findings: Findings) -> _PlacedParts:
    """The parts of external files that the main graph's initializers name."""
    parts: _PlacedParts = []
    for found in walk(skeleton.model):
        try:
            part = _check(found, skeleton)
        except (ValueError, PathRefused) as error:
            findings.refuse("", f"{found.place} {error}")
            if len(findings.problems) >= _MAX_PROBLEMS:
                break
        else:
            if part is not None:
                parts.append((found.place, part))
    return parts


def _check(found: Placed, skeleton: Skeleton) -> ExternalPart | None:
    match found:
        case PlacedNode(node):
            if node.op_type == "EPContext" and node.domain == "com.microsoft":
                raise ValueError(
                    "is an EPContext, a compiled engine that may run anything; export plain ONNX"
                )
        case PlacedSparseTensor(sparse):
            if element_count(sparse.dims) > _MAX_DENSE_ELEMENTS:
                raise ValueError(f"declares more than {_MAX_DENSE_ELEMENTS} elements: {list(sparse.dims)}")
        case PlacedTensor(tensor):
            if not is_external(tensor):
                check_inline(tensor, skeleton.raw_size(tensor))
            elif not found.is_main_initializer:
                raise ValueError("has external data; only initializers of the main graph may have it")
            else:
                return external_part(tensor)
    return None


def _read_external(parts: _PlacedParts, folder: Folder, findings: Findings) -> dict[str, bytes]:
    """The contents of each external file, by its path; each is read once."""
    contents: dict[str, bytes] = {}
    for place, part in parts:
        try:
            if part.path not in contents:
                contents[part.path] = folder.read(part.path, MAX_TENSOR_BYTES)
            part.check(contents[part.path])
        except (ValueError, FileRefused) as error:
            findings.refuse("", f"{place} {error}")
            if len(findings.problems) >= _MAX_PROBLEMS:
                break
    return contents
