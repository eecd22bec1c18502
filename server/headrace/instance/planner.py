"""Divides the machine: how many instances each model gets, on which device, with how many threads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from headrace.errors import LoadError
from headrace.repository.config import InstanceGroup, InstanceKind, ModelConfig


@dataclass(frozen=True, slots=True)
class Machine:
    """What there is to divide: CPU cores this process may use, and GPU ids that the backend can reach."""

    cores: int
    gpus: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Device:
    """Where an instance runs: the CPU (`gpu` is None) or one GPU by its id."""

    gpu: int | None = None

    def __str__(self) -> str:
        return "cpu" if self.gpu is None else f"gpu:{self.gpu}"


@dataclass(frozen=True, slots=True)
class Placement:
    """One instance to be: its name (Triton's `<group>_<n>`), device and intra-op thread count."""

    name: str
    device: Device
    threads: int


CPU = Device()


def place(
    config: ModelConfig, machine: Machine, default_count: int, other_cpu_instances: int
) -> tuple[list[Placement], list[str]]:
    """Where each instance of `config` goes, and remarks on choices that its owner may want to know.

    On the CPU every instance executes on its own threads: the machine's cores are divided by all CPU
    instances there are, `other_cpu_instances` of them other models', so that the sum does not exceed the
    cores (but each has one); Triton's parameter `intra_op_thread_count` overrides it. A `default_count` of 0
    lets this function choose. Raises LoadError where a GPU is asked for and there is none.
    """
    remarks: list[str] = []
    default_count = default_count or default_instance_count(machine)
    devices: list[tuple[str, Device]] = []
    for group in config.instance_groups or (InstanceGroup(config.name, 0, InstanceKind.AUTO),):
        devices += _devices_of(group, machine, default_count, remarks, config.name)
    cpu_count = sum(device == CPU for _, device in devices)
    threads = _threads(config.parameters, machine.cores, cpu_count + other_cpu_instances)
    if cpu_count * threads > machine.cores:
        remarks.append(
            f"'{config.name}' uses {cpu_count} instances x {threads} threads on {machine.cores} cores"
        )
    placements = [Placement(name, device, threads if device == CPU else 1) for name, device in devices]
    return placements, remarks


def default_instance_count(machine: Machine) -> int:
    """Instances of a model on the CPU where nobody says: Triton's two, but not more than there are cores."""
    return max(1, min(2, machine.cores))


def _devices_of(
    group: InstanceGroup, machine: Machine, default_count: int, remarks: list[str], model: str
) -> list[tuple[str, Device]]:
    devices: Sequence[Device] = _gpus(group, machine, model) if _on_gpu(group, machine) else [CPU]
    if group.kind is InstanceKind.AUTO and group.gpus and devices == [CPU]:
        remarks.append(
            f"'{model}' asks for GPUs {list(group.gpus)} if there are any: there are none, it runs on the CPU"
        )
    count = group.count or (default_count if devices == [CPU] else 1)
    names = (f"{group.name}_{index}" for index in range(count * len(devices)))
    return [(next(names), device) for device in devices for _ in range(count)]


def _on_gpu(group: InstanceGroup, machine: Machine) -> bool:
    if group.kind is InstanceKind.GPU:
        return True
    return group.kind is InstanceKind.AUTO and bool(machine.gpus)


def _gpus(group: InstanceGroup, machine: Machine, model: str) -> list[Device]:
    if not machine.gpus:
        raise LoadError(
            f"instance group '{group.name}' of model '{model}' asks for KIND_GPU, but no GPU can be used: "
            "onnxruntime-gpu and a CUDA device are needed (KIND_AUTO falls back to the CPU)"
        )
    missing = sorted(set(group.gpus) - set(machine.gpus))
    if missing:
        raise LoadError(
            f"instance group '{group.name}' of model '{model}' asks for gpus {missing}, "
            f"but this machine has {list(machine.gpus)}"
        )
    return [Device(gpu) for gpu in group.gpus or machine.gpus]


def _threads(parameters: Mapping[str, str], cores: int, cpu_instances: int) -> int:
    configured = int(parameters.get("intra_op_thread_count", "0") or "0")
    return configured or max(1, cores // max(1, cpu_instances))
