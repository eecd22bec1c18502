"""How many instances of a model run, and where: instance_group, checked."""

from headrace.pb.inference import model_config_pb2 as pb
from headrace.repository.config import InstanceGroup, InstanceKind
from headrace.repository.problems import Findings


def read_instance_groups(message: pb.ModelConfig, findings: Findings) -> tuple[InstanceGroup, ...]:
    """The groups of `message`, at least one; names that are missing are written into it."""
    if not message.instance_group:
        message.instance_group.add()
    listed = enumerate(message.instance_group)
    groups = tuple(_read_group(group, message.name, index, findings) for index, group in listed)
    names = [group.name for group in groups]
    for index, name in enumerate(names):
        if name in names[:index]:
            findings.refuse(f"instance_group[{index}].name", f"{name!r} is the name of an earlier group, too")
    return groups


def _read_group(group: pb.ModelInstanceGroup, model: str, index: int, findings: Findings) -> InstanceGroup:
    path = f"instance_group[{index}]"
    _check_group(group, path, findings)
    _note_unused(group, path, findings)
    group.name = group.name or f"{model}_{index}"
    kind = pb.ModelInstanceGroup.Kind.Name(group.kind)
    served = InstanceKind(kind) if kind != "KIND_MODEL" else InstanceKind.AUTO
    return InstanceGroup(group.name, group.count, served, tuple(group.gpus))


def _check_group(group: pb.ModelInstanceGroup, path: str, findings: Findings) -> None:
    if group.count < 0:
        expected = "expected 1 or more, or 0 for the server's choice"
        findings.refuse(f"{path}.count", f"{group.count} is given; {expected}")
    if group.kind == pb.ModelInstanceGroup.KIND_MODEL:
        expected = "expected KIND_AUTO, KIND_GPU or KIND_CPU"
        findings.refuse(f"{path}.kind", f"KIND_MODEL is not for ONNX models; {expected}")
    if group.gpus and group.kind == pb.ModelInstanceGroup.KIND_CPU:
        expected = "expected KIND_GPU, or no gpus"
        findings.refuse(f"{path}.gpus", f"{list(group.gpus)} are given for KIND_CPU; {expected}")
    for place, gpu in enumerate(group.gpus):
        if gpu < 0:
            findings.refuse(f"{path}.gpus[{place}]", f"{gpu} is given; expected a GPU's number, 0 or more")
    if group.rate_limiter.resources:
        findings.refuse(f"{path}.rate_limiter.resources", "is not supported by this server")


def _note_unused(group: pb.ModelInstanceGroup, path: str, findings: Findings) -> None:
    for name in ("profile", "passive", "secondary_devices", "host_policy"):
        if getattr(group, name):
            findings.note(f"{path}.{name}", "has no effect in this server")
    if group.rate_limiter.priority:
        findings.note(f"{path}.rate_limiter.priority", "has no effect in this server")
