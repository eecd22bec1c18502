"""Which models execute on the event loop: those whose longest execution is known to be short."""

from headrace.backend.base import Backend
from headrace.errors import HeadraceError
from headrace.model.measure import execution_us, has_representative_zeros
from headrace.repository.repository import VersionSource


def is_inline_worthy(source: VersionSource, backend: Backend, limit_us: int) -> bool:
    """True where the model's largest batch takes less than `limit_us`, and no input can make it take longer.

    None can where shapes are fixed, there are no strings, and the graph's cost depends on shapes only. Blocks
    while it measures.
    """
    config = source.config
    is_fixed = source.model.has_fixed_cost and has_representative_zeros(config)
    if not limit_us or not is_fixed:
        return False
    try:
        return execution_us(backend, config, config.fixed_batch or config.max_batch_size) < limit_us
    except HeadraceError:
        return False
