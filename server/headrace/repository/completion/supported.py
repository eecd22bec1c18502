"""What this server does not do of Triton's configuration: refused, or noted as without effect."""

from headrace.pb.inference import model_config_pb2 as pb
from headrace.repository.problems import Findings

_UNSUPPORTED = "is not supported by this server"
_NO_EFFECT = "has no effect in this server"


def check_supported(message: pb.ModelConfig, findings: Findings) -> None:
    """Adds a problem for what would change answers and is not done, a note for what is merely not done."""
    _check_scheduling(message, findings)
    _check_model(message, findings)
    for index, tensor in enumerate(message.input):
        _check_tensor(tensor, f"input[{index}]", findings)
        if tensor.allow_ragged_batch:
            findings.refuse(f"input[{index}].allow_ragged_batch", f"true {_UNSUPPORTED}")
        if tensor.format:
            findings.note(f"input[{index}].format", _NO_EFFECT)
    for index, output in enumerate(message.output):
        _check_tensor(output, f"output[{index}]", findings)
    _note_optimization(message.optimization, findings)


def _check_scheduling(message: pb.ModelConfig, findings: Findings) -> None:
    for name in ("sequence_batching", "ensemble_scheduling"):
        if message.HasField(name):
            findings.refuse(name, _UNSUPPORTED)
    if message.model_transaction_policy.decoupled:
        findings.refuse("model_transaction_policy.decoupled", f"true {_UNSUPPORTED}")
    if message.response_cache.enable:
        findings.refuse("response_cache.enable", f"true {_UNSUPPORTED}")


def _check_model(message: pb.ModelConfig, findings: Findings) -> None:
    if message.model_operations.op_library_filename:
        expected = "libraries of custom operators run code of their own and are never loaded"
        findings.refuse("model_operations.op_library_filename", expected)
    if message.model_repository_agents.agents:
        findings.refuse("model_repository_agents", _UNSUPPORTED)
    for name in ("batch_input", "batch_output", "runtime", "cc_model_filenames"):
        if getattr(message, name):
            findings.refuse(name, _UNSUPPORTED)
    if message.HasField("model_metrics"):
        findings.note("model_metrics", _NO_EFFECT)


def _check_tensor(tensor: pb.ModelInput | pb.ModelOutput, path: str, findings: Findings) -> None:
    for name in ("is_shape_tensor", "is_non_linear_format_io"):
        if getattr(tensor, name):
            findings.refuse(f"{path}.{name}", f"true {_UNSUPPORTED}")


def _note_optimization(optimization: pb.ModelOptimizationPolicy, findings: Findings) -> None:
    present = ("input_pinned_memory", "output_pinned_memory")
    names = [name for name in present if optimization.HasField(name)]
    given = ("priority", "gather_kernel_buffer_threshold", "eager_batching")
    names += [name for name in given if getattr(optimization, name)]
    cuda = ("busy_wait_events", "graph_spec", "output_copy_stream")
    names += [f"cuda.{name}" for name in cuda if getattr(optimization.cuda, name)]
    for name in names:
        findings.note(f"optimization.{name}", _NO_EFFECT)
