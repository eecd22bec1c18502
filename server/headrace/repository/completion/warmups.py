"""The warm-up requests of a model, held against its inputs; their files are read here, once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from headrace.core.tensor import Shape, TensorSpec, element_count, matches
from headrace.errors import LoadError
from headrace.pb.inference import model_config_pb2 as pb
from headrace.repository.completion.tensor_specs import triton_datatype
from headrace.repository.config import Warmup, WarmupData, WarmupInput
from headrace.repository.files.folder import Folder
from headrace.repository.files.names import components
from headrace.repository.problems import Findings, shown
from headrace.settings.suggestion import did_you_mean

_FOLDER = "warmup"
_MAX_FILE_BYTES = 1 << 28


@dataclass(slots=True)
class WarmupReader:
    """Reads warm-ups for the model in `folder`; `data` gathers the contents of the files, by their name.

    A file holds one row (or the whole tensor, where nothing is batched), which every row of the warm-up
    repeats; where it holds more, the beginning is taken, as in Triton.
    """

    inputs: Sequence[TensorSpec]
    max_batch_size: int
    folder: Folder
    findings: Findings
    data: dict[str, bytes] = field(default_factory=dict)

    def read(self, message: pb.ModelConfig) -> tuple[Warmup, ...]:
        """The warm-ups of `message`; problems go to `findings`."""
        return tuple(
            self._warmup(warmup, f"model_warmup[{index}]")
            for index, warmup in enumerate(message.model_warmup)
        )

    def _warmup(self, warmup: pb.ModelWarmup, path: str) -> Warmup:
        inputs = self._inputs(warmup.inputs, f"{path}.inputs")
        batch_size = self._batch_size(warmup.batch_size, f"{path}.batch_size")
        return Warmup(warmup.name, batch_size, warmup.count or 1, inputs)

    def _batch_size(self, given: int, path: str) -> int:
        largest = self.max_batch_size
        if given > max(largest, 1):
            self.findings.refuse(
                path, f"{given} is given; expected at most {max(largest, 1)}, by max_batch_size"
            )
        return (given or 1) if largest else 0

    def _inputs(self, inputs: Mapping[str, pb.ModelWarmup.Input], path: str) -> tuple[WarmupInput, ...]:
        specs = {spec.name: spec for spec in self.inputs}
        for name in sorted(inputs):
            if name not in specs:
                hint = did_you_mean(name, specs) or f"; it has {', '.join(specs)}"
                self.findings.refuse(f"{path}.{name}", f"the model has no input {shown(name)}{hint}")
        for spec in self.inputs:
            if spec.name not in inputs and not spec.is_optional:
                self.findings.refuse(path, f"input {spec.name!r} is missing")
        named = [spec for spec in self.inputs if spec.name in inputs]
        return tuple(self._input(spec, inputs[spec.name], f"{path}.{spec.name}") for spec in named)

    def _input(self, spec: TensorSpec, given: pb.ModelWarmup.Input, path: str) -> WarmupInput:
        if given.data_type not in (pb.TYPE_INVALID, triton_datatype(spec.datatype)):
            name = pb.DataType.Name(given.data_type)
            self.findings.refuse(
                f"{path}.data_type", f"{name} is given, but the input is {spec.datatype.value}"
            )
        dims = tuple(given.dims) or spec.dims
        if -1 in dims or not matches(dims, spec.dims):
            expected = f"expected sizes of 1 or more that fit the input's dims {list(spec.dims)}"
            self.findings.refuse(f"{path}.dims", f"{list(dims)} is given; {expected}")
        kind = given.WhichOneof("input_data_type")
        if kind is None:
            self.findings.refuse(path, "no data is given; expected zero_data, random_data or input_data_file")
            return WarmupInput(spec.name, dims, WarmupData.ZERO)
        if kind == WarmupData.FILE.value:
            self._read_file(spec, dims, given.input_data_file, f"{path}.{kind}")
        return WarmupInput(spec.name, dims, WarmupData(kind), given.input_data_file or None)

    def _read_file(self, spec: TensorSpec, dims: Shape, name: str, path: str) -> None:
        try:
            components(name)
            data = self.folder.read(f"{_FOLDER}/{name}", _MAX_FILE_BYTES)
        except LoadError as error:
            self.findings.refuse(path, str(error))
            return
        needed = element_count(dims) * spec.datatype.item_bytes
        if len(data) < needed:
            row = f"{list(dims)} of {spec.datatype.value} takes {needed}"
            self.findings.refuse(path, f"{name!r} holds {len(data)} bytes, but {row}")
        self.data[name] = data[:needed] if needed else data
