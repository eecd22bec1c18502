"""How the backend is to prepare the graph: Triton's optimization, checked."""

from collections.abc import Iterable

from headrace.pb.inference import model_config_pb2 as pb
from headrace.repository.config import Accelerator, Optimization
from headrace.repository.problems import Findings, shown
from headrace.settings.suggestion import did_you_mean

_GRAPH_LEVELS = (-1, 1, 2)
_GPU_ACCELERATORS = frozenset({"tensorrt", "cuda"})
_CPU_ACCELERATORS = frozenset({"openvino"})
# They name shared libraries, whose code would run in this process.
_LIBRARY_PARAMETERS = frozenset({"trt_extra_plugin_lib_paths"})


def read_optimization(message: pb.ModelConfig, findings: Findings) -> Optimization:
    """What `message` asks of the backend."""
    optimization = message.optimization
    accelerators = optimization.execution_accelerators
    return Optimization(
        graph_level=_graph_level(optimization.graph.level, findings),
        gpu_accelerators=_read(
            accelerators.gpu_execution_accelerator, "gpu_execution_accelerator", _GPU_ACCELERATORS, findings
        ),
        cpu_accelerators=_read(
            accelerators.cpu_execution_accelerator, "cpu_execution_accelerator", _CPU_ACCELERATORS, findings
        ),
        cuda_graphs=optimization.cuda.graphs,
    )


def _graph_level(level: int, findings: Findings) -> int | None:
    if level == 0:
        return None
    if level not in _GRAPH_LEVELS:
        expected = "expected -1 (basic), 1 (extended), 2 (off), or none for all"
        findings.refuse("optimization.graph.level", f"{level} is given; {expected}")
    return level


def _read(
    accelerators: Iterable[pb.ModelOptimizationPolicy.ExecutionAccelerators.Accelerator],
    field: str,
    known: frozenset[str],
    findings: Findings,
) -> tuple[Accelerator, ...]:
    read = []
    for index, accelerator in enumerate(accelerators):
        path = f"optimization.execution_accelerators.{field}[{index}]"
        if accelerator.name not in known:
            expected = f"expected {' or '.join(sorted(known))}{did_you_mean(accelerator.name, known)}"
            findings.refuse(f"{path}.name", f"{shown(accelerator.name)} is given; {expected}")
        for name in sorted(_LIBRARY_PARAMETERS & set(accelerator.parameters)):
            findings.refuse(f"{path}.parameters.{name}", "names a library, and libraries are never loaded")
        read.append(Accelerator(accelerator.name, dict(accelerator.parameters)))
    return tuple(read)
