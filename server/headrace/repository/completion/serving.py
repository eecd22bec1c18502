"""What a configuration says of all versions of its model together: version policy, route and rollout plan."""

from headrace.pb.headrace.v1 import routing_pb2
from headrace.pb.inference import model_config_pb2 as pb
from headrace.repository.config import Serving
from headrace.repository.problems import Findings
from headrace.repository.routing.plan_reader import read_plan
from headrace.repository.routing.route_reader import RouteReader
from headrace.repository.version_policy import read_version_policy


def read_serving(message: pb.ModelConfig, routing: routing_pb2.ModelRouting, findings: Findings) -> Serving:
    """What both state; problems go to `findings`."""
    has_route, has_rollout = routing.HasField("route"), routing.HasField("rollout")
    if has_route and has_rollout:
        findings.refuse("rollout", "'route' is given too: a rollout moves the weights; keep one of them")
    return Serving(
        read_version_policy(message, findings),
        RouteReader(findings).route(routing.route, "route") if has_route else None,
        read_plan(routing.rollout, findings, "rollout") if has_rollout else None,
    )
