"""Triton's restricted protocols: how they are written, and that every method and endpoint has its group."""

import pytest

from headrace.errors import ConfigError
from headrace.settings import GrpcSettings, HttpSettings
from headrace.transport.grpc.methods import build_methods
from headrace.transport.grpc.restricted import group_of as group_of_method
from headrace.transport.http.endpoints import build_routes
from headrace.transport.http.off_loop import OffLoop
from headrace.transport.http.restricted import group_of as group_of_endpoint
from headrace.transport.limits import DEFAULT_LIMITS
from headrace.transport.restriction import Api, Restriction, read_restrictions
from support.rollouts import FakeRollouts, guarded

FIELD = "grpc.restricted_protocols"
# What says nothing of this server.
UNRESTRICTED = {"/", "/docs", "/docs/{file}"}


def read(*texts: str) -> dict[Api, Restriction]:
    return dict(read_restrictions(FIELD, texts, "triton-grpc-protocol-"))


def test_groups_share_the_header_behind_them():
    restrictions = read("model-repository,logging:Admin-Key=a=b:c", "inference:infer-key=x")

    admin = Restriction("triton-grpc-protocol-admin-key", "a=b:c")
    assert restrictions == {
        Api.MODEL_REPOSITORY: admin,
        Api.LOGGING: admin,
        Api.INFERENCE: Restriction("triton-grpc-protocol-infer-key", "x"),
    }


def test_it_does_not_matter_where_commas_were_taken_apart():
    """Environment variables and files give lists."""
    assert read("model-repository", "logging:k=v") == read("model-repository,logging:k=v")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("loging:k=v", "there is no group 'loging'; did you mean 'logging'?"),
        ("x:k=v", "there is no group 'x': expected one of health, metadata, inference"),
        ("logging", "'logging' has no header: expected logging:<key>=<value>"),
        ("logging:k", "expected <group>,<group>:<key>=<value>"),
        ("logging:k=", "expected <group>,<group>:<key>=<value>"),
        ("logging:=v", "expected <group>,<group>:<key>=<value>"),
        (":k=v", "expected <group>,<group>:<key>=<value>"),
        ("logging:k=v,logging:k=w", "'logging' is restricted twice"),
    ],
)
def test_what_is_wrong_is_said_without_the_secret(text, reason):
    with pytest.raises(ConfigError) as caught:
        read(text, *(("trace:key=topsecret",) if ":" in text else ()))
    assert str(caught.value).startswith(f"{FIELD}: {reason}")
    assert "topsecret" not in str(caught.value)


def test_what_may_be_the_rest_of_a_secret_is_not_quoted():
    with pytest.raises(ConfigError, match="a header's value has no commas") as caught:
        read("logging:admin-key=ab,cdSECRET")
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize("shown", [None, "", "V", "v ", "vv"])
def test_only_the_value_itself_will_do(shown):
    assert not Restriction("k", "v").is_met_by(shown)
    assert Restriction("k", "v").is_met_by("v")


def test_each_method_but_reflection_has_a_group():
    methods = build_methods(None, None, GrpcSettings(), DEFAULT_LIMITS, guarded(FakeRollouts()))
    groups = {path: group_of_method(path) for path in methods if "Reflection" not in path}
    assert set(groups.values()) == set(Api)
    assert groups["/inference.GRPCInferenceService/ModelStreamInfer"] is Api.INFERENCE
    assert groups["/grpc.health.v1.Health/Watch"] is Api.HEALTH


def test_each_endpoint_that_says_anything_has_a_group():
    rollouts = guarded(FakeRollouts())
    routes = build_routes(None, None, HttpSettings(), DEFAULT_LIMITS, OffLoop(), rollouts)
    groups = {route.path: group_of_endpoint(route.path) for route in routes}
    assert {path for path, group in groups.items() if group is None} == UNRESTRICTED
    assert set(groups.values()) == {*Api, None}
    model = "/v2/models/{model}/versions/{version}"
    assert groups[model] is Api.METADATA
    assert groups[model + "/ready"] is Api.HEALTH
    assert groups[model + "/config"] is Api.MODEL_CONFIG
    assert groups[model + "/infer"] is Api.INFERENCE
    assert groups["/v2/models/{model}/trace/setting"] is Api.TRACE
    assert groups["/v2/models/stats"] is Api.STATISTICS
    assert groups["/v1/models/{model}:predict"] is Api.INFERENCE
    assert groups["/v2/repository/index"] is Api.MODEL_REPOSITORY
