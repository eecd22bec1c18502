"""What a golden request sends, held against the model's inputs."""

from collections.abc import Sequence
from dataclasses import dataclass

from headrace.core.tensor import Shape, Tensor, TensorSpec, matches
from headrace.repository.config import ModelConfig
from headrace.repository.golden.document import Members
from headrace.repository.golden.elements import BadElements, read_elements, to_tensor
from headrace.repository.problems import shown
from headrace.settings.suggestion import did_you_mean

_KEYS = ("name", "datatype", "shape", "data")


@dataclass(frozen=True, slots=True)
class GoldenInputs:
    """The tensors, and how many rows each has: 0 where the model does not batch or nobody knows."""

    tensors: tuple[Tensor, ...]
    rows: int


def read_inputs(document: Members, config: ModelConfig) -> GoldenInputs:
    """The document's inputs; what is wrong with them goes to its findings."""
    specs = {spec.name: spec for spec in config.inputs}
    given: dict[str, Members] = {}
    for item in document.objects("inputs"):
        item.refuse_unknown(_KEYS)
        spec = named(item, specs, "input", given)
        if spec is not None:
            given[spec.name] = item
    missing = [spec.name for spec in config.inputs if spec.name not in given and not spec.is_optional]
    if missing and "inputs" in document:
        document.refuse("inputs", f"input {', '.join(map(repr, missing))} is missing")
    rows = 0
    tensors: list[Tensor] = []
    for name, item in given.items():
        shape = _shape(item, specs[name], config, rows)
        if shape is not None and config.max_batch_size:
            rows = rows or shape[0]
        tensors += _tensor(item, specs[name], shape)
    return GoldenInputs(tuple(tensors), rows)


def named(
    item: Members, specs: dict[str, TensorSpec], kind: str, taken: dict[str, Members]
) -> TensorSpec | None:
    """The one of `specs` that `item` names, or None where there is none or it is `taken`."""
    name = item.text("name")
    if name is None:
        if "name" not in item:
            item.refuse("", f"has no name; expected one of {', '.join(specs)}")
        return None
    if name not in specs:
        hint = did_you_mean(name, specs) or f"; it has {', '.join(specs)}"
        item.refuse("name", f"the model has no {kind} {shown(name)}{hint}")
        return None
    if name in taken:
        item.refuse("name", f"{kind} {name!r} is given twice")
        return None
    return specs[name]


def refuse_datatype(item: Members, spec: TensorSpec, kind: str) -> None:
    """Tells of a datatype that is not the declared one."""
    datatype = item.datatype("datatype")
    if datatype not in (None, spec.datatype):
        item.refuse("datatype", f"{datatype.value} is given, but the {kind} is {spec.datatype.value}")


def declared(spec: TensorSpec, config: ModelConfig, rows: int = 0) -> Shape:
    """The shape of a whole tensor, -1 where any size goes; of `rows` rows, or any where that is 0."""
    return (rows or -1, *spec.dims) if config.max_batch_size else spec.dims


def _shape(item: Members, spec: TensorSpec, config: ModelConfig, rows: int) -> Shape | None:
    """The given shape, or None where it does not fit; `rows` is what the inputs before have."""
    refuse_datatype(item, spec, "input")
    missing = [key for key in ("datatype", "shape", "data") if key not in item]
    if missing:
        item.refuse("", f"has no {' and no '.join(missing)}")
    shape = item.shape("shape")
    if shape is None:
        return None
    if not matches(shape, declared(spec, config)):
        expected = list(declared(spec, config))
        note = ", where the first is the number of rows" if config.max_batch_size else ""
        item.refuse("shape", f"{list(shape)} is given, but the input is {expected}{note}")
        return None
    if config.max_batch_size and not 1 <= shape[0] <= config.max_batch_size:
        expected_rows = f"expected 1 to {config.max_batch_size}, by max_batch_size"
        item.refuse("shape", f"{shape[0]} rows are given; {expected_rows}")
        return None
    if config.max_batch_size and rows not in (0, shape[0]):
        item.refuse("shape", f"{shape[0]} rows are given, but other inputs have {rows}")
        return None
    return shape


def _tensor(item: Members, spec: TensorSpec, shape: Shape | None) -> Sequence[Tensor]:
    """The input, or nothing where it has no sound data."""
    if shape is None or "data" not in item:
        return ()
    try:
        elements = read_elements(item.values["data"], spec.datatype, shape)
    except BadElements as error:
        item.refuse("data", str(error))
        return ()
    return (to_tensor(spec.name, spec.datatype, elements),)
