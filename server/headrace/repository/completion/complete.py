"""From what the operator wrote and what the graph declares to the configuration that the server runs.

The rules are those of Triton's auto-complete and normalisation for ONNX models (model_configuration.md,
"Auto-Generated Model Configuration"), with a default batch size of our own.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from headrace.core.tensor import TensorSpec
from headrace.errors import LoadError
from headrace.pb.inference import model_config_pb2 as pb
from headrace.repository.completion.batch_dimension import BatchDimension, read_batch_dimension
from headrace.repository.completion.image import read_image
from headrace.repository.completion.instance_groups import read_instance_groups
from headrace.repository.completion.labels import add_labels
from headrace.repository.completion.optimization import read_optimization
from headrace.repository.completion.parameters import read_parameters
from headrace.repository.completion.scheduling import (
    check_priorities,
    read_dynamic_batching,
    read_queue_policy,
)
from headrace.repository.completion.serving import read_serving
from headrace.repository.completion.supported import check_supported
from headrace.repository.completion.tensor_pairs import pair_inputs, pair_outputs
from headrace.repository.completion.tensor_specs import complete_tensor
from headrace.repository.completion.warmups import WarmupReader
from headrace.repository.config import (
    InstanceGroup,
    ModelConfig,
    Optimization,
    QueuePolicy,
    Serving,
)
from headrace.repository.files.folder import Folder
from headrace.repository.files.names import components
from headrace.repository.graph.onnx_model import OnnxModel
from headrace.repository.problems import Findings, Problem, shown
from headrace.repository.text.config_file import ConfigFile
from headrace.settings.suggestion import did_you_mean

DEFAULT_FILENAME = "model.onnx"
_PLATFORM = "onnxruntime_onnx"
_BACKEND = "onnxruntime"


@dataclass(frozen=True, slots=True)
class Settings:
    """The part of a configuration that no graph has a say in; `message` is normalised that far."""

    message: pb.ModelConfig
    serving: Serving
    instance_groups: tuple[InstanceGroup, ...]
    optimization: Optimization
    parameters: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Completed:
    """A configuration that can be served, the contents of its warm-up files, and remarks on it."""

    config: ModelConfig
    warmup_data: Mapping[str, bytes]
    notes: tuple[Problem, ...]


def read_settings(file: ConfigFile, name: str, findings: Findings) -> Settings:
    """What `file` sets for the model `name`, defaults filled in; problems go to `findings`."""
    message = pb.ModelConfig()
    message.CopyFrom(file.message)
    _complete_identity(message, name, findings)
    check_supported(message, findings)
    check_priorities(message, findings)
    return Settings(
        message,
        read_serving(message, file.routing, findings),
        read_instance_groups(message, findings),
        read_optimization(message, findings),
        read_parameters(message, findings),
    )


def complete(
    settings: Settings, model: OnnxModel, folder: Folder, default_max_batch_size: int, findings: Findings
) -> Completed:
    """The whole configuration; InvalidConfig with everything in `findings`, if anything is refused.

    `folder` is the model's, for label and warm-up files.
    """
    message = settings.message
    batch, inputs, outputs = _complete_tensors(message, model, folder, default_max_batch_size, findings)
    warmups = WarmupReader(inputs, batch.max_batch_size, folder, findings)
    config = ModelConfig(
        name=message.name,
        max_batch_size=batch.max_batch_size,
        inputs=inputs,
        outputs=outputs,
        platform=message.platform,
        backend=message.backend,
        model_filename=message.default_model_filename,
        fixed_batch=batch.fixed_batch,
        dynamic_batching=read_dynamic_batching(message, findings),
        queue_policy=_queue_policy(message),
        instance_groups=settings.instance_groups,
        version_policy=settings.serving.version_policy,
        optimization=settings.optimization,
        parameters=settings.parameters,
        metric_tags=dict(message.metric_tags),
        warmups=warmups.read(message),
        image=read_image(settings.parameters, message.input, inputs, findings),
        triton=message.SerializeToString(deterministic=True),
    )
    findings.raise_problems()
    return Completed(config, warmups.data, tuple(findings.notes))


def _complete_identity(message: pb.ModelConfig, name: str, findings: Findings) -> None:
    if message.name not in ("", name):
        findings.refuse("name", f"{shown(message.name)} is given, but the model's folder is {name!r}")
    message.name = name
    for field, served in (("platform", _PLATFORM), ("backend", _BACKEND)):
        given = getattr(message, field)
        if given not in ("", served):
            hint = did_you_mean(given, [served])
            findings.refuse(field, f"{shown(given)} is given; this server serves {served!r}{hint}")
        setattr(message, field, served)
    message.default_model_filename = message.default_model_filename or DEFAULT_FILENAME
    _check_filename(message.default_model_filename, findings)


def _check_filename(filename: str, findings: Findings) -> None:
    path = "default_model_filename"
    try:
        if components(filename) != (filename,):
            findings.refuse(
                path, f"{shown(filename)} is given; expected the name of a file in the version's folder"
            )
    except LoadError as error:
        findings.refuse(path, str(error))


def _complete_tensors(
    message: pb.ModelConfig, model: OnnxModel, folder: Folder, default_max_batch_size: int, findings: Findings
) -> tuple[BatchDimension, tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    # With both described, Triton takes max_batch_size as written, 0 for a model that does not batch.
    default = 0 if message.input and message.output else default_max_batch_size
    inputs = pair_inputs(message, model, findings)
    outputs = pair_outputs(message, model, findings)
    batch = read_batch_dimension(message, inputs, outputs, default, findings)
    message.max_batch_size = batch.max_batch_size
    if batch.is_completed and batch.max_batch_size > 1 and message.WhichOneof("scheduling_choice") is None:
        message.dynamic_batching.SetInParent()
    input_specs = tuple(complete_tensor(pair, batch, findings) for pair in inputs)
    output_specs = tuple(
        add_labels(complete_tensor(pair, batch, findings), pair, folder, findings) for pair in outputs
    )
    return batch, input_specs, output_specs


def _queue_policy(message: pb.ModelConfig) -> QueuePolicy:
    """The policy of requests without a priority; the default one where dynamic_batching is not given."""
    return read_queue_policy(message.dynamic_batching.default_queue_policy)
