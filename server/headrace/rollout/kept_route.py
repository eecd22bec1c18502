"""A model's route as it is kept."""

from dataclasses import dataclass
from enum import StrEnum

from headrace.core.route import Route


class RouteOrigin(StrEnum):
    """What has made a route: an order, a model's configuration, or a rollout."""

    ORDER = "order"
    CONFIG = "config"
    ROLLOUT = "rollout"


@dataclass(frozen=True, slots=True)
class KeptRoute:
    """`route` is None where the newest version answers; `set_by` is for people.

    `previous_until_s` is when the version before need no longer be kept, 0 where there is none.
    """

    model: str
    route: Route | None
    revision: int
    origin: RouteOrigin
    set_by: str
    previous_until_s: float = 0.0
