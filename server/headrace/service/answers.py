"""What the control service answers: plain data that each transport puts in its own words."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from headrace.core.tensor import Shape, TensorSpec
from headrace.repository.config import ImageInput


class HealthStatus(Enum):
    """A service's health in the words of grpc.health.v1."""

    SERVING = "SERVING"
    NOT_SERVING = "NOT_SERVING"
    SERVICE_UNKNOWN = "SERVICE_UNKNOWN"


@dataclass(frozen=True, slots=True)
class ServerMetadata:
    """Who answers, and which extensions of the V2 protocol it speaks."""

    name: str
    version: str
    extensions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TensorMetadata:
    """An input or output as callers see it: `shape` starts with -1 where the model batches."""

    name: str
    datatype: str
    shape: Shape


@dataclass(frozen=True, slots=True)
class ModelMetadata:
    """A model's ready versions and its tensors; `properties` has the sha256 of each version's files."""

    name: str
    versions: tuple[str, ...]
    platform: str
    inputs: tuple[TensorMetadata, ...]
    outputs: tuple[TensorMetadata, ...]
    properties: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ModelTensors:
    """What a model takes and gives, for those who make requests out of something else.

    Where it `batches`, a dimension of up to `max_batch_size` rows comes before each tensor's dims. `image`
    tells how a picture becomes an input, if the model says so.
    """

    name: str
    max_batch_size: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    image: ImageInput | None

    @property
    def batches(self) -> bool:
        return self.max_batch_size > 0


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """One line of the repository's index; `version` is "" for a model that was never loaded."""

    name: str
    version: str = ""
    state: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """How one version is run: what `headrace models` and the start-up table show."""

    name: str
    version: str
    state: str
    reason: str
    max_batch_size: int = 0
    instances: int = 0
    threads_per_instance: int = 0
    device: str = ""
    queue_depth: int = 0
    max_queue_size: int = 0
    load_duration_us: int = 0
    is_default: bool = False
