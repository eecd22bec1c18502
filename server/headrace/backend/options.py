"""How a session is to be made: providers, threads and options, from a model's configuration alone."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from headrace.repository.config import Accelerator, ModelConfig

ProviderOptions = tuple[str, dict[str, str]]

GRAPH_LEVELS = {None: "all", 1: "extended", -1: "basic", 2: "disabled"}

CUDA_OPTIONS = (
    "gpu_mem_limit",
    "arena_extend_strategy",
    "cudnn_conv_algo_search",
    "do_copy_in_default_stream",
    "cudnn_conv_use_max_workspace",
    "use_tf32",
)

# Triton's names for TensorRT's options, and ONNX Runtime's for the same.
TENSORRT_OPTIONS = {
    "max_workspace_size_bytes": "trt_max_workspace_size",
    "max_cached_engines": "trt_engine_cache_max",
}

ACCELERATOR_PROVIDERS = {
    "tensorrt": "TensorrtExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
}


@dataclass(frozen=True, slots=True)
class SessionPlan:
    """What a session is made with, in ONNX Runtime's words but without ONNX Runtime.

    `gpu` is a CUDA device's id, or None for the CPU. `run_entries` go into every run's options.
    """

    gpu: int | None
    providers: tuple[ProviderOptions, ...]
    intra_op_threads: int
    inter_op_threads: int = 1
    is_parallel: bool = False
    graph_level: str = "all"
    enable_mem_arena: bool = True
    enable_mem_pattern: bool = True
    session_entries: Mapping[str, str] = field(default_factory=dict)
    run_entries: Mapping[str, str] = field(default_factory=dict)


def plan_session(config: ModelConfig, gpu: int | None, threads: int) -> SessionPlan:
    """The plan for an instance of `config` on `gpu` (None: the CPU) with `threads` intra-op threads.

    Parameters carry the names that Triton's ONNX Runtime backend gives them.
    """
    parameters = config.parameters
    return SessionPlan(
        gpu=gpu,
        providers=tuple(_providers(config, gpu)),
        intra_op_threads=threads,
        inter_op_threads=int(parameters.get("inter_op_thread_count", "0") or "0") or 1,
        is_parallel=parameters.get("execution_mode") == "1",
        graph_level=GRAPH_LEVELS[config.optimization.graph_level],
        enable_mem_arena=parameters.get("enable_mem_arena", "1") != "0",
        enable_mem_pattern=parameters.get("enable_mem_pattern", "1") != "0",
        session_entries=_session_entries(parameters),
        run_entries=_run_entries(parameters),
    )


def _providers(config: ModelConfig, gpu: int | None) -> list[ProviderOptions]:
    """The execution providers, most wanted first; the CPU's own closes the list."""
    providers: list[ProviderOptions] = []
    if gpu is None:
        providers += [_accelerator(accelerator) for accelerator in config.optimization.cpu_accelerators]
    else:
        for accelerator in config.optimization.gpu_accelerators:
            name, options = _accelerator(accelerator)
            if name != "CUDAExecutionProvider":
                providers.append((name, {"device_id": str(gpu), **options}))
        providers.append(("CUDAExecutionProvider", _cuda_options(config, gpu)))
    return [*providers, ("CPUExecutionProvider", {})]


def _cuda_options(config: ModelConfig, gpu: int) -> dict[str, str]:
    options = {"device_id": str(gpu)}
    options |= {name: config.parameters[name] for name in CUDA_OPTIONS if name in config.parameters}
    for accelerator in config.optimization.gpu_accelerators:
        if accelerator.name == "cuda":
            options |= accelerator.parameters
    if config.optimization.cuda_graphs:
        options["enable_cuda_graph"] = "1"
    return options


def _accelerator(accelerator: Accelerator) -> ProviderOptions:
    provider = ACCELERATOR_PROVIDERS[accelerator.name]
    if provider != "TensorrtExecutionProvider":
        return provider, dict(accelerator.parameters)
    options = {TENSORRT_OPTIONS.get(name, name): value for name, value in accelerator.parameters.items()}
    precision = options.pop("precision_mode", "FP32").upper()
    options |= {f"trt_{mode.lower()}_enable": "1" for mode in ("FP16", "INT8") if precision == mode}
    return provider, options


def _session_entries(parameters: Mapping[str, str]) -> dict[str, str]:
    """Threads do not spin between batches unless the configuration wants it: idle models cost nothing."""
    entries = {"session.intra_op.allow_spinning": "0", "session.inter_op.allow_spinning": "0"}
    return entries | {name: value for name, value in parameters.items() if name.startswith("session.")}


def _run_entries(parameters: Mapping[str, str]) -> dict[str, str]:
    shrinkage = "memory.enable_memory_arena_shrinkage"
    return {shrinkage: parameters[shrinkage]} if parameters.get(shrinkage) else {}
