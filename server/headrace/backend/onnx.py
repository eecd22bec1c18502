"""The ONNX Runtime backend: sessions made from a checked snapshot, executed on the CPU or on CUDA.

The only file that imports onnxruntime. What concerns CUDA follows ONNX Runtime's documented Python API;
docs/gpu.md says what of it has run on a device.
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnxruntime as ort

from headrace.backend.base import Array
from headrace.backend.options import SessionPlan
from headrace.backend.runners import BindingRunner, PlainRunner, Runner, ValueRunner
from headrace.core.tensor import DataType
from headrace.errors import ExecutionFailed, LoadError
from headrace.repository.config import ModelConfig
from headrace.repository.files import pieces
from headrace.repository.graph.onnx_model import OnnxModel

CUDA = "CUDAExecutionProvider"
FATAL_ONLY = 4

# Places in ONNX Runtime's source and in this process: of no use to whoever reads the message.
_PLACES = re.compile(r"\S*/onnxruntime\S*\.(?:cc|cpp|h):\d+\s?|Load model from /proc/self/fd/\d+ failed:\s?")

_LEVELS = {
    "all": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
    "extended": ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "basic": ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "disabled": ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
}


class OnnxSession:
    """A model prepared for one device; backends of several workers may execute it at the same time."""

    def __init__(self, model: OnnxModel, config: ModelConfig, plan: SessionPlan) -> None:
        """Blocks while ONNX Runtime loads and optimises the graph. Raises LoadError with its message."""
        self.config = config
        self.plan = plan
        options = _session_options(plan, model.external)
        try:
            with _as_file(model.data) as source:
                self.session = ort.InferenceSession(
                    source, options, providers=list(plan.providers), enable_fallback=0
                )
        except Exception as error:
            raise LoadError(f"ONNX Runtime refuses the graph: {_message(error)}") from error
        self._check_device()

    def backend(self) -> "OnnxBackend":
        """A backend for one more worker on this session."""
        return OnnxBackend(self)

    def _check_device(self) -> None:
        """ONNX Runtime leaves out providers that do not start; whoever asked for one is told."""
        missing = {name for name, _ in self.plan.providers} - set(self.session.get_providers())
        if missing - {CUDA}:
            raise LoadError(
                f"this build of ONNX Runtime has no {', '.join(sorted(missing - {CUDA}))}, which the model's "
                "execution_accelerators ask for"
            )
        if self.plan.gpu is not None and CUDA not in self.session.get_providers():
            raise LoadError(
                f"GPU {self.plan.gpu} cannot be used: ONNX Runtime could not start its CUDA provider "
                f"(it has {self.session.get_providers()})"
            )


class OnnxBackend:
    """Executes batches of one worker."""

    def __init__(self, session: OnnxSession) -> None:
        self._model_name = session.config.name
        self._run_options = ort.RunOptions()
        self._run_options.log_severity_level = FATAL_ONLY
        for name, value in session.plan.run_entries.items():
            self._run_options.add_run_config_entry(name, value)
        self._runner: Runner | None = _runner(session, self._run_options)

    def execute(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> list[Array]:
        """Runs the graph once. Raises ExecutionFailed with ONNX Runtime's message."""
        if self._runner is None:
            raise ExecutionFailed(f"the backend of '{self._model_name}' is closed: this is a bug")
        try:
            return self._runner.run(inputs, outputs)
        except Exception as error:
            raise ExecutionFailed(f"model '{self._model_name}' failed: {_message(error)}") from error

    def interrupt(self) -> None:
        """Makes a running execution stop before its next node."""
        self._run_options.terminate = True

    def close(self) -> None:
        self._runner = None


def gpus() -> tuple[int, ...]:
    """The CUDA devices that ONNX Runtime can reach, by id; none where its CUDA provider is not installed."""
    if CUDA not in ort.get_available_providers():
        return ()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return tuple(range(len([part for part in visible.split(",") if part.strip() not in ("", "-1")])))
    return tuple(
        range(sum(1 for path in Path("/dev").glob("nvidia*") if re.fullmatch(r"nvidia\d+", path.name)))
    )


def runtime_description() -> str:
    """ONNX Runtime's version and providers, in one line."""
    return f"onnxruntime {ort.__version__} ({', '.join(ort.get_available_providers())})"


def _session_options(plan: SessionPlan, external: Mapping[str, bytes]) -> Any:
    options = ort.SessionOptions()
    options.log_severity_level = FATAL_ONLY
    options.intra_op_num_threads = plan.intra_op_threads
    options.inter_op_num_threads = plan.inter_op_threads
    options.execution_mode = (
        ort.ExecutionMode.ORT_PARALLEL if plan.is_parallel else ort.ExecutionMode.ORT_SEQUENTIAL
    )
    options.graph_optimization_level = _LEVELS[plan.graph_level]
    options.enable_cpu_mem_arena = plan.enable_mem_arena
    options.enable_mem_pattern = plan.enable_mem_pattern
    for name, value in plan.session_entries.items():
        options.add_session_config_entry(name, value)
    if external:
        contents = list(external.values())
        options.add_external_initializers_from_files_in_memory(
            list(external), contents, [len(content) for content in contents]
        )
    return options


def _runner(session: OnnxSession, run_options: Any) -> Runner:
    config, plan = session.config, session.plan
    bfloat16_inputs = frozenset(spec.name for spec in config.inputs if spec.datatype is DataType.BF16)
    if plan.gpu is not None:
        return BindingRunner(
            ort,
            session.session,
            run_options,
            "cuda",
            plan.gpu,
            {spec.name: spec for spec in config.outputs},
            batches=config.max_batch_size > 0,
            bfloat16_inputs=bfloat16_inputs,
        )
    if bfloat16_inputs or any(spec.datatype is DataType.BF16 for spec in config.outputs):
        return ValueRunner(ort, session.session, run_options, bfloat16_inputs)
    return PlainRunner(session.session, run_options)


@contextmanager
def _as_file(data: bytes) -> Iterator[str | bytes]:
    """A path from which ONNX Runtime reads exactly `data`.

    From a path it parses without holding the GIL, from bytes it does not; the file lives in memory and has no
    name, so nobody can change what was checked. Where the system has no such files the bytes go as they are.
    """
    if not hasattr(os, "memfd_create"):
        yield data
        return
    descriptor = os.memfd_create("model.onnx", os.MFD_CLOEXEC)
    try:
        pieces.write(descriptor, data)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def _message(error: Exception, limit: int = 1000) -> str:
    """ONNX Runtime's message in one line, without the places in its source code."""
    return " ".join(_PLACES.sub("", str(error)).split())[:limit]
