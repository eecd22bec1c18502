"""The free-form parameters of a model: those known to ONNX Runtime's backend and to headrace are checked."""

import re
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from math import isfinite

from headrace.pb.inference import model_config_pb2 as pb
from headrace.repository.config import ImageLayout, ImageResize
from headrace.repository.problems import Findings, shown

_SWITCH = {"0": "0", "1": "1", "false": "0", "true": "1"}
_ON_OFF = {**_SWITCH, "off": "0", "on": "1"}
_ARENA_STRATEGIES = ("0", "1", "kNextPowerOfTwo", "kSameAsRequested")
_CONVOLUTION_SEARCHES = ("0", "1", "2", "EXHAUSTIVE", "HEURISTIC", "DEFAULT")
_SHRINKAGE = re.compile(r"(cpu|gpu):[0-9]+(;(cpu|gpu):[0-9]+)*")
_COUNT = re.compile(r"[0-9]{1,18}")
# Settings of a session that read or write files, or take other bytes for the model than those checked.
_REACHES_OUT = re.compile(
    r"(session|ep)\..*(file|path|folder|format|profiling|context|custom_op|library|ort_model_bytes|partitioning)"
)
_ALIKE = 0.8


def read_parameters(message: pb.ModelConfig, findings: Findings) -> dict[str, str]:
    """The parameters by name; switches as 0 or 1. Unknown ones pass, those nearly known with a note."""
    return {
        name: _read(name, parameter.string_value, findings)
        for name, parameter in sorted(message.parameters.items())
    }


def _read(name: str, value: str, findings: Findings) -> str:
    path = f"parameters.{name}"
    if _REACHES_OUT.match(name):
        findings.refuse(
            path, "names files or code beside the checked model, which a model's settings may not"
        )
    check = _KNOWN.get(name)
    if check is None:
        _note_near_miss(name, path, findings)
        return value
    try:
        return check(value)
    except ValueError as error:
        findings.refuse(path, f"{shown(value)} is given; expected {error}")
        return value


def _note_near_miss(name: str, path: str, findings: Findings) -> None:
    near = get_close_matches(name, sorted(_KNOWN), n=1, cutoff=_ALIKE)
    if near:
        findings.note(path, f"is not a parameter that this server knows; did you mean {near[0]!r}?")


def _count(value: str) -> str:
    if _COUNT.fullmatch(value) is None:
        raise ValueError("an integer of 0 or more")
    return str(int(value))


def _switch(value: str) -> str:
    if value.lower() not in _SWITCH:
        raise ValueError("0 or 1")
    return _SWITCH[value.lower()]


def _on_off(value: str) -> str:
    if value.lower() not in _ON_OFF:
        raise ValueError("on or off")
    return _ON_OFF[value.lower()]


def _distance(value: str) -> str:
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not (isfinite(number) and number >= 0):
        raise ValueError("a number of 0 or more")
    return value


def _one_of(*choices: str) -> Callable[[str], str]:
    def check(value: str) -> str:
        if value not in choices:
            raise ValueError(f"one of {', '.join(choices)}")
        return value

    return check


def _any(value: str) -> str:
    return value


def _numbers(most: int, *, is_divisor: bool = False) -> Callable[[str], str]:
    """One number, or up to `most` with commas between them."""

    def check(value: str) -> str:
        if not _are_numbers(value.split(","), most, is_divisor):
            kind = "a number" if most == 1 else f"1 or {most} numbers with commas between them"
            raise ValueError(f"{kind}, not 0" if is_divisor else kind)
        return value

    return check


def _are_numbers(texts: Sequence[str], most: int, is_divisor: bool) -> bool:
    try:
        numbers = [float(text) for text in texts]
    except ValueError:
        return False
    return len(numbers) in (1, most) and all(isfinite(each) and (each or not is_divisor) for each in numbers)


def _shrinkage(value: str) -> str:
    if _SHRINKAGE.fullmatch(value) is None:
        raise ValueError("devices such as 'cpu:0' or 'cpu:0;gpu:0'")
    return value


_KNOWN: dict[str, Callable[[str], str]] = {
    "intra_op_thread_count": _count,
    "inter_op_thread_count": _count,
    "execution_mode": _one_of("0", "1"),
    "enable_mem_arena": _switch,
    "enable_mem_pattern": _switch,
    "memory.enable_memory_arena_shrinkage": _shrinkage,
    "gpu_mem_limit": _count,
    "arena_extend_strategy": _one_of(*_ARENA_STRATEGIES),
    "cudnn_conv_algo_search": _one_of(*_CONVOLUTION_SEARCHES),
    "do_copy_in_default_stream": _switch,
    "execution_timeout_ms": _count,
    "golden": _on_off,
    "golden_absolute_tolerance": _distance,
    "golden_relative_tolerance": _distance,
    "image_input": _any,
    "image_mode": _one_of("L", "RGB", "BGR"),
    "image_layout": _one_of(*[layout.value for layout in ImageLayout]),
    "image_resize": _one_of(*[resize.value for resize in ImageResize]),
    "image_scale": _numbers(1),
    "image_mean": _numbers(3),
    "image_std": _numbers(3, is_divisor=True),
}
