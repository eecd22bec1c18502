"""The calls of headrace.v1.Rollouts."""

from headrace.cli.client import Method
from headrace.pb.headrace.v1 import rollouts_pb2 as pb

_SERVICE = "/headrace.v1.Rollouts/"

START = Method(_SERVICE + "Start", pb.StartRolloutRequest, pb.Rollout)
STATUS = Method(_SERVICE + "Status", pb.RolloutStatusRequest, pb.RolloutStatusResponse)
PAUSE = Method(_SERVICE + "Pause", pb.RolloutRequest, pb.Rollout)
RESUME = Method(_SERVICE + "Resume", pb.RolloutRequest, pb.Rollout)
PROMOTE = Method(_SERVICE + "Promote", pb.PromoteRequest, pb.Rollout)
ROLLBACK = Method(_SERVICE + "Rollback", pb.RolloutRequest, pb.Rollout)
ABORT = Method(_SERVICE + "Abort", pb.RolloutRequest, pb.Rollout)
HISTORY = Method(_SERVICE + "History", pb.RolloutHistoryRequest, pb.RolloutHistoryResponse)
EXPLAIN = Method(_SERVICE + "Explain", pb.ExplainRolloutRequest, pb.ExplainRolloutResponse)
COMPARE = Method(_SERVICE + "Compare", pb.CompareRequest, pb.CompareResponse)
GET_ROUTE = Method(_SERVICE + "GetRoute", pb.RouteRequest, pb.RouteStatus)
SET_ROUTE = Method(_SERVICE + "SetRoute", pb.SetRouteRequest, pb.RouteStatus)
CLEAR_ROUTE = Method(_SERVICE + "ClearRoute", pb.RouteRequest, pb.RouteStatus)
