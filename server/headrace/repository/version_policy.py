"""Which of a model's versions are served."""

from collections.abc import Iterable, Sequence, Set

from headrace.pb.inference import model_config_pb2 as pb
from headrace.repository.config import VersionPolicy
from headrace.repository.problems import Findings


def select(policy: VersionPolicy, versions: Iterable[int], also: Set[int] = frozenset()) -> tuple[int, ...]:
    """Those of `versions` that `policy` wants or that are in `also`, in ascending order."""
    present = sorted(set(versions))
    wanted = {*_selected(policy, present), *also}
    return tuple(version for version in present if version in wanted)


def _selected(policy: VersionPolicy, present: Sequence[int]) -> Sequence[int]:
    if policy.specific:
        return policy.specific
    if policy.latest is None:
        return present
    return present[-policy.latest :] if policy.latest > 0 else ()


def read_version_policy(message: pb.ModelConfig, findings: Findings) -> VersionPolicy:
    """The policy that `message` states; writes the default, the latest version, into it where it has none."""
    policy = message.version_policy
    match policy.WhichOneof("policy_choice"):
        case "all":
            return VersionPolicy(latest=None)
        case "specific":
            return _specific(tuple(policy.specific.versions), findings)
        case _:
            policy.latest.num_versions = policy.latest.num_versions or 1
            return VersionPolicy(latest=policy.latest.num_versions)


def _specific(versions: tuple[int, ...], findings: Findings) -> VersionPolicy:
    path = "version_policy.specific"
    if not versions:
        findings.refuse(path, "no versions are listed; expected at least one, or 'all'")
    for index, version in enumerate(versions):
        if version < 1:
            findings.refuse(f"{path}.versions[{index}]", f"{version} is given; expected 1 or more")
    return VersionPolicy(latest=None, specific=tuple(sorted(set(versions))))
