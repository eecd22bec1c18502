"""How a model's requests are queued and joined: dynamic_batching, checked."""

from headrace.pb.inference import model_config_pb2 as pb
from headrace.repository.config import DynamicBatching, QueuePolicy, TimeoutAction
from headrace.repository.problems import Findings

_PATH = "dynamic_batching"


def read_queue_policy(policy: pb.ModelQueuePolicy) -> QueuePolicy:
    """The policy that `policy` states; a queue without a size gets the server's default."""
    return QueuePolicy(
        timeout_action=TimeoutAction(pb.ModelQueuePolicy.TimeoutAction.Name(policy.timeout_action)),
        default_timeout_us=policy.default_timeout_microseconds,
        allow_timeout_override=policy.allow_timeout_override,
        max_queue_size=policy.max_queue_size,
    )


def read_dynamic_batching(message: pb.ModelConfig, findings: Findings) -> DynamicBatching | None:
    """What `message` states, or None where requests are not joined.

    Where no preferred size is given, `message` gets the largest one, as Triton shows it.
    """
    if not message.HasField(_PATH):
        return None
    batching = message.dynamic_batching
    if message.max_batch_size < 1:
        findings.note(_PATH, "has no effect beyond its queue policy: max_batch_size is 0, nothing is joined")
        return None
    _check_preferred_sizes(batching, message.max_batch_size, findings)
    preferred = tuple(sorted(set(batching.preferred_batch_size)))
    if not preferred:
        batching.preferred_batch_size.append(message.max_batch_size)
    return DynamicBatching(
        preferred_batch_sizes=preferred,
        max_queue_delay_us=batching.max_queue_delay_microseconds,
        preserve_ordering=batching.preserve_ordering,
        priority_levels=batching.priority_levels,
        default_priority_level=batching.default_priority_level,
        default_queue_policy=read_queue_policy(batching.default_queue_policy),
        priority_queue_policies={
            level: read_queue_policy(batching.priority_queue_policy[level])
            for level in sorted(batching.priority_queue_policy)
        },
    )


def check_priorities(message: pb.ModelConfig, findings: Findings) -> None:
    """Refuses priority levels that contradict one another, or what Triton does not allow with ordering."""
    if not message.HasField(_PATH):
        return
    batching = message.dynamic_batching
    levels, default = batching.priority_levels, batching.default_priority_level
    if levels and not 1 <= default <= levels:
        expected = f"expected 1 to {levels}, as priority_levels is {levels}"
        findings.refuse(f"{_PATH}.default_priority_level", f"{default} is given; {expected}")
    if not levels and default:
        findings.refuse(f"{_PATH}.default_priority_level", f"{default} is given, but priority_levels is 0")
    for level in sorted(batching.priority_queue_policy):
        if not 1 <= level <= levels:
            path = f"{_PATH}.priority_queue_policy.{level}"
            findings.refuse(path, f"level {level} is given; expected 1 to priority_levels, which is {levels}")
    if batching.preserve_ordering:
        _check_ordering(batching, findings)


def _check_preferred_sizes(batching: pb.ModelDynamicBatching, largest: int, findings: Findings) -> None:
    for index, size in enumerate(batching.preferred_batch_size):
        if not 1 <= size <= largest:
            path = f"{_PATH}.preferred_batch_size[{index}]"
            findings.refuse(path, f"{size} is given; expected 1 to max_batch_size, which is {largest}")


def _check_ordering(batching: pb.ModelDynamicBatching, findings: Findings) -> None:
    """Responses cannot keep the order of requests when some of these overtake others."""
    path = f"{_PATH}.preserve_ordering"
    if batching.priority_levels > 1:
        findings.refuse(path, f"true excludes priority_levels {batching.priority_levels}; expected at most 1")
    policies = [batching.default_queue_policy, *batching.priority_queue_policy.values()]
    if any(policy.timeout_action == pb.ModelQueuePolicy.DELAY for policy in policies):
        findings.refuse(path, "true excludes the timeout_action DELAY; expected REJECT")
