"""How a picture becomes an input of the model, as the parameters `image_...` say."""

from collections.abc import Mapping, Sequence

from headrace.core.tensor import DataType, Shape, TensorSpec
from headrace.pb.inference import model_config_pb2 as pb
from headrace.repository.config import ImageInput, ImageLayout, ImageResize
from headrace.repository.problems import Findings, shown

PREFIX = "image_"

_CHANNELS = {"L": 1, "RGB": 3, "BGR": 3}
_FORMATS = {pb.ModelInput.FORMAT_NCHW: ImageLayout.CHW, pb.ModelInput.FORMAT_NHWC: ImageLayout.HWC}


def read_image(
    parameters: Mapping[str, str],
    messages: Sequence[pb.ModelInput],
    inputs: Sequence[TensorSpec],
    findings: Findings,
) -> ImageInput | None:
    """None where no parameter speaks of images, or `findings` has problems of one already.

    Contradictions with the inputs go to `findings`.
    """
    are_wrong = any(problem.field.startswith(f"parameters.{PREFIX}") for problem in findings.problems)
    if are_wrong or not any(name.startswith(PREFIX) for name in parameters):
        return None
    spec = _input(parameters, inputs, findings)
    if spec is None:
        return None
    formats = {message.name: message.format for message in messages}
    layout = _layout(parameters, spec, formats.get(spec.name), findings)
    if layout is None:
        return None
    sizes = dict(zip(layout.value, spec.dims))
    channels = sizes.get("C", 1)
    mode = parameters.get("image_mode", "L" if channels == 1 else "RGB")
    if channels not in (-1, _CHANNELS[mode]):
        findings.refuse(
            "parameters.image_mode",
            f"{shown(mode)} has {_CHANNELS[mode]} channels, but input {spec.name!r} with dims "
            f"{list(spec.dims)} has {channels}",
        )
    mean, std = _numbers(parameters, "image_mean", 0.0), _numbers(parameters, "image_std", 1.0)
    for name, numbers in (("image_mean", mean), ("image_std", std)):
        if len(numbers) not in (1, _CHANNELS[mode]):
            findings.refuse(f"parameters.{name}", f"has {len(numbers)} numbers, but {mode} has one channel")
    return ImageInput(
        name=spec.name,
        mode=mode,
        layout=layout,
        width=_size(sizes["W"]),
        height=_size(sizes["H"]),
        resize=ImageResize(parameters.get("image_resize", ImageResize.STRETCH.value)),
        scale=_numbers(parameters, "image_scale", 1.0)[0],
        mean=mean,
        std=std,
    )


def _input(
    parameters: Mapping[str, str], inputs: Sequence[TensorSpec], findings: Findings
) -> TensorSpec | None:
    """The input that `image_input` names, or the only one there is."""
    names = [spec.name for spec in inputs]
    name = parameters.get("image_input", names[0] if len(names) == 1 else "")
    if name not in names:
        findings.refuse(
            "parameters.image_input", f"{shown(name)} is given; expected one of the inputs {', '.join(names)}"
        )
        return None
    spec = inputs[names.index(name)]
    if spec.datatype in (DataType.BYTES, DataType.BOOL, DataType.BF16):
        findings.refuse(
            "parameters.image_input", f"input {name!r} is {spec.datatype.value}; expected numbers"
        )
        return None
    return spec


def _layout(
    parameters: Mapping[str, str],
    spec: TensorSpec,
    given_format: "pb.ModelInput.Format | None",
    findings: Findings,
) -> ImageLayout | None:
    """As the parameter says, or the input's `format`, or what the dims can only mean."""
    text = parameters.get("image_layout")
    layout = ImageLayout(text) if text is not None else _declared(given_format, spec)
    if layout is None or len(layout.value) != len(spec.dims):
        findings.refuse(
            "parameters.image_layout",
            f"{shown(text or '')} is given for input {spec.name!r} with dims {list(spec.dims)}; expected HW "
            "for two dims, CHW or HWC for three",
        )
        return None
    return layout


def _declared(given_format: "pb.ModelInput.Format | None", spec: TensorSpec) -> ImageLayout | None:
    return (_FORMATS.get(given_format) if given_format else None) or _guess(spec.dims)


def _guess(dims: Shape) -> ImageLayout | None:
    if len(dims) == 2:
        return ImageLayout.HW
    if len(dims) != 3:
        return None
    is_first, is_last = dims[0] in (1, 3), dims[2] in (1, 3)
    if is_first == is_last:
        return None
    return ImageLayout.CHW if is_first else ImageLayout.HWC


def _size(size: int) -> int | None:
    return None if size == -1 else size


def _numbers(parameters: Mapping[str, str], name: str, default: float) -> tuple[float, ...]:
    return tuple(float(text) for text in parameters.get(name, str(default)).split(","))
