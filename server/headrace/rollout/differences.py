"""How what a model's configuration declares differs from what is in force."""

import json
from typing import Any

from headrace.core.plan import Plan
from headrace.repository.config import Serving
from headrace.repository.routing.writing import plan_json, route_json
from headrace.rollout.kept_route import KeptRoute, RouteOrigin

_LONGEST = 200


def differences(serving: Serving | None, kept: KeptRoute | None, running: Plan | None) -> list[str]:
    """One sentence each: the field, what the file says, and what is in force.

    `running` is the plan of a rollout under way.
    """
    if serving is None:
        return []
    if serving.route is not None:
        actual = route_json(kept.route) if kept and kept.route else "{}"
        return _fields(route_json(serving.route), actual, "route")
    if serving.plan is None:
        return []
    told = _fields(plan_json(serving.plan), plan_json(running), "rollout") if running else []
    if kept is not None and kept.origin is RouteOrigin.ORDER:
        told.append(f"route: set by {kept.set_by}; new versions are not rolled out until it is cleared")
    return told


def _fields(declared: str, actual: str, section: str) -> list[str]:
    wanted, present = json.loads(declared), json.loads(actual)
    return [
        f"{section}.{name}: the file says {_shown(wanted.get(name))}, in force is {_shown(present.get(name))}"
        for name in sorted({*wanted, *present})
        if wanted.get(name) != present.get(name)
    ]


def _shown(value: Any) -> str:
    text = "nothing" if value is None else json.dumps(value)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
