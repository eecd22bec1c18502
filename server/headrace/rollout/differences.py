"""How what a model's configuration declares differs from what is in force."""

import json
from typing import Any

from headrace.core.plan import Plan
from headrace.core.route import Route
from headrace.repository.config import Serving
from headrace.repository.routing.writing import plan_json, route_json

_LONGEST = 200


def differences(serving: Serving | None, route: Route | None, set_by: str, running: Plan | None) -> list[str]:
    """One sentence each: the field, what the file says, and what is in force.

    `running` is the plan of a rollout under way that the configuration has started.
    """
    if serving is None:
        return []
    if serving.route is not None:
        return _fields(route_json(serving.route), route_json(route) if route else "{}", "route")
    if serving.plan is None:
        return []
    told = _fields(plan_json(serving.plan), plan_json(running), "rollout") if running else []
    if set_by not in ("", "config", "rollout"):
        told.append(f"route: set by {set_by}; new versions are not rolled out until it is cleared")
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
