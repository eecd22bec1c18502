"""What must come out for a golden request, held against the model's outputs."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import inf, prod

from headrace.core.tensor import DataType, Shape, TensorSpec, matches
from headrace.repository.config import ModelConfig
from headrace.repository.golden.document import Members, given
from headrace.repository.golden.elements import FLOATS, BadElements, read_elements
from headrace.repository.golden.inputs import declared, named, refuse_datatype
from headrace.repository.golden.request import Elements, GoldenOutput, Tolerance
from headrace.settings.suggestion import did_you_mean

ABSOLUTE, RELATIVE, MEAN = "absolute_tolerance", "relative_tolerance", "mean_absolute_tolerance"
_TOLERANCES = (ABSOLUTE, RELATIVE, MEAN)
_DEMANDS = ("data", "argmax", "finite", "shape")
_KEYS = ("name", "datatype", "shape", "data", *_TOLERANCES, "argmax", "finite")
# Absolute and relative, where nobody says. Numbers of 16 bits have three digits, or with BF16 two.
_DEFAULT = 1e-4
_DEFAULT_OF_16_BITS = 1e-2
_SHORT = frozenset({DataType.FP16, DataType.BF16})


@dataclass(frozen=True, slots=True)
class OutputReader:
    """Reads the outputs of a request of `rows` rows, 0 where the model does not batch or nobody knows.

    `defaults` has the tolerances of floating-point outputs that name none, by member.
    """

    config: ModelConfig
    rows: int
    defaults: Mapping[str, float]

    def read(self, document: Members) -> tuple[GoldenOutput, ...]:
        """The document's outputs; what is wrong with them goes to its findings."""
        specs = {spec.name: spec for spec in self.config.outputs}
        taken: dict[str, Members] = {}
        outputs = []
        for item in document.objects("outputs"):
            item.refuse_unknown(_KEYS)
            spec = named(item, specs, "output", taken)
            if spec is not None:
                taken[spec.name] = item
                outputs.append(self._output(item, spec))
        if document.values.get("outputs") == []:
            document.refuse("outputs", f"is empty; expected what must come out of {', '.join(specs)}")
        return tuple(outputs)

    def _output(self, item: Members, spec: TensorSpec) -> GoldenOutput:
        refuse_datatype(item, spec, "output")
        if not any(name in item for name in _DEMANDS):
            item.refuse("", f"asks for nothing; expected {', '.join(_DEMANDS[:-1])} or {_DEMANDS[-1]}")
        shape = self._shape(item, spec)
        return GoldenOutput(
            spec.name,
            shape,
            self._data(item, spec, shape),
            self._tolerance(item, spec),
            self._best(item, spec, shape),
            self._is_finite(item, spec),
        )

    def _shape(self, item: Members, spec: TensorSpec) -> Shape | None:
        """As given, or as declared where that leaves nothing open."""
        expected = declared(spec, self.config, self.rows)
        shape = item.shape("shape")
        if shape is None:
            return None if -1 in expected else expected
        if matches(shape, expected):
            return shape
        note = f" for {self.rows} rows" if self.rows else ""
        item.refuse("shape", f"{list(shape)} is given, but the output is {list(expected)}{note}")
        return None

    def _data(self, item: Members, spec: TensorSpec, shape: Shape | None) -> Elements | None:
        if "data" not in item:
            return None
        try:
            elements = read_elements(item.values["data"], spec.datatype, shape)
        except BadElements as error:
            item.refuse("data", str(error))
            return None
        expected = declared(spec, self.config, self.rows)
        if elements.ndim > 1 and not matches(elements.shape, expected):
            item.refuse("data", f"is nested as {list(elements.shape)}, but the output is {list(expected)}")
        return elements

    def _tolerance(self, item: Members, spec: TensorSpec) -> Tolerance:
        """The output's own, then the file's, the model's and ours; whole numbers are exact by themselves."""
        own = {name: item.distance(name) for name in _TOLERANCES if name in item}
        if own and "data" not in item:
            item.refuse(next(iter(own)), "has no effect without data")
        if own and spec.datatype in (DataType.BYTES, DataType.BOOL):
            exact = f"output {spec.name!r} is {spec.datatype.value}, which is compared exactly"
            item.refuse(next(iter(own)), exact)
        mean = own.get(MEAN)
        if mean is not None and ABSOLUTE not in own and RELATIVE not in own:
            return Tolerance(absolute=inf, mean=mean)
        return replace(self._default(spec, own), mean=mean)

    def _default(self, spec: TensorSpec, own: Mapping[str, float | None]) -> Tolerance:
        if spec.datatype not in FLOATS:
            return Tolerance(own.get(ABSOLUTE) or 0.0, own.get(RELATIVE) or 0.0)
        ours = _DEFAULT_OF_16_BITS if spec.datatype in _SHORT else _DEFAULT
        absolute, relative = own.get(ABSOLUTE), own.get(RELATIVE)
        return Tolerance(
            self.defaults.get(ABSOLUTE, ours) if absolute is None else absolute,
            self.defaults.get(RELATIVE, ours) if relative is None else relative,
        )

    def _best(self, item: Members, spec: TensorSpec, shape: Shape | None) -> tuple[int, ...] | None:
        """The indices that `argmax` has, labels among them by their place in the output's labels."""
        if "argmax" not in item:
            return None
        wanted = item.values["argmax"]
        count = self.rows if self.config.max_batch_size else 1
        if spec.datatype in (DataType.BYTES, DataType.BOOL):
            item.refuse("argmax", f"output {spec.name!r} is {spec.datatype.value}, which has no largest one")
            return None
        if not isinstance(wanted, list) or (count and len(wanted) != count):
            what = f"a list of {count}" if count else "a list"
            item.refuse("argmax", f"{given(wanted)} is given; expected {what}, the best class of each row")
            return None
        size = prod(shape[1:] if self.config.max_batch_size else shape) if shape else None
        return tuple(self._class(item, spec, each, size) for each in wanted)

    def _class(self, item: Members, spec: TensorSpec, wanted: object, size: int | None) -> int:
        if isinstance(wanted, str) and wanted in spec.labels:
            return spec.labels.index(wanted)
        if isinstance(wanted, str) and spec.labels:
            hint = did_you_mean(wanted, spec.labels)
            item.refuse("argmax", f"{given(wanted)} is no label of output {spec.name!r}{hint}")
        elif type(wanted) is not int or wanted < 0 or (size is not None and wanted >= size):
            expected = "an index of 0 or more" if size is None else f"an index of 0 to {size - 1}"
            or_label = " or a label" if spec.labels else ""
            item.refuse("argmax", f"{given(wanted)} is given; expected {expected}{or_label}")
        else:
            return wanted
        return 0

    def _is_finite(self, item: Members, spec: TensorSpec) -> bool:
        is_finite = item.flag("finite")
        if "finite" in item and spec.datatype not in FLOATS:
            item.refuse("finite", f"output {spec.name!r} is {spec.datatype.value}, which is always finite")
        return is_finite
