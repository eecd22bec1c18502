"""A request as a shadow gets it."""

from dataclasses import replace

from headrace.core.caller import Caller
from headrace.core.request import NO_PARAMETERS, InferenceRequest, Parameters, no_metadata
from headrace.model.model import Model

# In the queue of a version that others call too, copies are a caller of their own.
SHADOW = Caller("shadow")

# Parameters that are about the caller's own place in the queue.
_OF_THE_QUEUE = ("priority", "timeout")


def copied(request: InferenceRequest, model: Model, now_ns: int) -> InferenceRequest:
    """`request` for the shadow `model`: the same tensors, the lowest priority, nothing of its caller's."""
    return replace(
        request,
        model_version=str(model.version),
        parameters=_parameters(request.parameters, model),
        arrived_ns=now_ns,
        deadline_ns=None,
        wants_timings=True,
        caller=SHADOW,
        metadata=no_metadata,
        wants_route=False,
        notes=NO_PARAMETERS,
        is_shadow=True,
    )


def _parameters(parameters: Parameters, model: Model) -> Parameters:
    """With the least urgent priority that `model` has, and without a time in the queue of its own."""
    batching = model.config.dynamic_batching
    levels = batching.priority_levels if batching else 0
    if not parameters and levels <= 1:
        return parameters
    kept = {name: value for name, value in parameters.items() if name not in _OF_THE_QUEUE}
    return kept | {"priority": levels} if levels > 1 else kept
