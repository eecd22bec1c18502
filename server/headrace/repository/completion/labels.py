"""The class names of an output: a text file in the model's folder, one label a line."""

from dataclasses import replace

from headrace.core.tensor import TensorSpec, element_count
from headrace.errors import LoadError
from headrace.pb.inference import model_config_pb2 as pb
from headrace.repository.completion.tensor_pairs import TensorPair
from headrace.repository.files.folder import Folder
from headrace.repository.problems import Findings

_MAX_BYTES = 1 << 20


def add_labels(spec: TensorSpec, pair: TensorPair, folder: Folder, findings: Findings) -> TensorSpec:
    """`spec` with the labels that the configuration in `pair` names, if any."""
    filename = pair.message.label_filename if isinstance(pair.message, pb.ModelOutput) else ""
    if not filename:
        return spec
    path = f"{pair.path}.label_filename"
    labels = _read(filename, path, folder, findings)
    if labels and spec.is_fixed and len(labels) != element_count(spec.dims):
        count = f"{len(labels)} labels, but output {spec.name!r} has {element_count(spec.dims)} elements"
        findings.note(path, f"{filename!r} holds {count}")
    return replace(spec, labels=labels)


def _read(filename: str, path: str, folder: Folder, findings: Findings) -> tuple[str, ...]:
    try:
        text = folder.read(filename, _MAX_BYTES).decode("utf-8-sig")
    except LoadError as error:
        findings.refuse(path, str(error))
        return ()
    except UnicodeDecodeError as error:
        findings.refuse(path, f"{filename!r} is not UTF-8: {error.reason} at byte {error.start}")
        return ()
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    return tuple(lines[:-1] if lines[-1] == "" else lines)
