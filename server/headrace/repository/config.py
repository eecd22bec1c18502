"""A model's configuration as the server uses it: read, completed from the graph and checked."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from headrace.core.plan import Plan
from headrace.core.route import Route
from headrace.core.tensor import Shape, TensorSpec

DEFAULT_MAX_BATCH_SIZE = 32


class TimeoutAction(Enum):
    """What happens to a request whose time in the queue is up."""

    REJECT = "REJECT"
    DELAY = "DELAY"


class InstanceKind(Enum):
    """Where the instances of a group run; AUTO takes the GPUs there are, otherwise the CPU."""

    AUTO = "KIND_AUTO"
    GPU = "KIND_GPU"
    CPU = "KIND_CPU"


class WarmupData(Enum):
    """What a warm-up input is filled with."""

    ZERO = "zero_data"
    RANDOM = "random_data"
    FILE = "input_data_file"


@dataclass(frozen=True, slots=True)
class QueuePolicy:
    """How long and how many requests may wait; 0 µs is no timeout, a size of 0 the default."""

    timeout_action: TimeoutAction = TimeoutAction.REJECT
    default_timeout_us: int = 0
    allow_timeout_override: bool = False
    max_queue_size: int = 0


@dataclass(frozen=True, slots=True)
class DynamicBatching:
    """When a batch is closed. Sizes count rows; priority level 1 is the highest, 0 levels means no levels."""

    preferred_batch_sizes: tuple[int, ...] = ()
    max_queue_delay_us: int = 0
    preserve_ordering: bool = False
    priority_levels: int = 0
    default_priority_level: int = 0
    default_queue_policy: QueuePolicy = field(default_factory=QueuePolicy)
    priority_queue_policies: Mapping[int, QueuePolicy] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class InstanceGroup:
    """`count` instances on the CPU, or on each of `gpus` (all there are, where it is empty).

    A `count` of 0 leaves the number to the server's planner.
    """

    name: str
    count: int
    kind: InstanceKind
    gpus: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Accelerator:
    """An execution accelerator (TensorRT, OpenVINO, CUDA) and its own parameters."""

    name: str
    parameters: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Optimization:
    """How the backend prepares the graph. `graph_level`: None is all, 1 extended, -1 basic, 2 off."""

    graph_level: int | None = None
    gpu_accelerators: tuple[Accelerator, ...] = ()
    cpu_accelerators: tuple[Accelerator, ...] = ()
    cuda_graphs: bool = False


@dataclass(frozen=True, slots=True)
class WarmupInput:
    """One input of a warm-up request; `dims` excludes the batch dimension.

    `file` is the name of the data's file in the model's folder `warmup`, or None.
    """

    name: str
    dims: Shape
    data: WarmupData
    file: str | None = None


@dataclass(frozen=True, slots=True)
class Warmup:
    """A request of `batch_size` rows (0: the model does not batch) that each instance runs `count` times."""

    name: str
    batch_size: int
    count: int
    inputs: tuple[WarmupInput, ...]


@dataclass(frozen=True, slots=True)
class VersionPolicy:
    """Which versions are served: the `latest` n by number, the `specific` ones, or, with neither, all."""

    latest: int | None = 1
    specific: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Serving:
    """What a model's configuration says of all its versions together: which are served, and how requests
    are shared between them, by a fixed `route` or by the `plan` for each new one.
    """

    version_policy: VersionPolicy = field(default_factory=VersionPolicy)
    route: Route | None = None
    plan: Plan | None = None


class ImageLayout(Enum):
    """The order of an image's dimensions: height, width, and channels where there are any."""

    HW = "HW"
    CHW = "CHW"
    HWC = "HWC"


class ImageResize(Enum):
    """How a picture of another size is made to fit: distorted, cut at its longer side, or filled up."""

    STRETCH = "stretch"
    CROP = "crop"
    PAD = "pad"


@dataclass(frozen=True, slots=True)
class ImageInput:
    """How a picture becomes the input `name`: values are (pixel * scale - mean) / std, pixels 0 to 255.

    `width` and `height` are None where the model takes any size; `mean` and `std` have one number for all
    channels, or one for each. `mode` is L (grey), RGB or BGR.
    """

    name: str
    mode: str
    layout: ImageLayout
    width: int | None
    height: int | None
    resize: ImageResize = ImageResize.STRETCH
    scale: float = 1.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Everything the server needs to know to run one model.

    `max_batch_size` 0 means that requests carry whole tensors and run one by one. `fixed_batch` is the size
    that the graph gives its batch dimension, to which batches are padded, or 0 where any size goes.
    `dynamic_batching` is None where requests are not joined. `triton` is the normalised, completed
    configuration as a serialised `inference.ModelConfig`, for those who ask for it.
    """

    name: str
    max_batch_size: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    platform: str = "onnxruntime_onnx"
    backend: str = "onnxruntime"
    model_filename: str = "model.onnx"
    fixed_batch: int = 0
    dynamic_batching: DynamicBatching | None = None
    queue_policy: QueuePolicy = field(default_factory=QueuePolicy)
    instance_groups: tuple[InstanceGroup, ...] = ()
    version_policy: VersionPolicy = field(default_factory=VersionPolicy)
    optimization: Optimization = field(default_factory=Optimization)
    parameters: Mapping[str, str] = field(default_factory=dict)
    metric_tags: Mapping[str, str] = field(default_factory=dict)
    warmups: tuple[Warmup, ...] = ()
    image: ImageInput | None = None
    triton: bytes = b""
