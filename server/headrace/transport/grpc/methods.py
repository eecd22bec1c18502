"""The table of all gRPC methods: every transport looks up here what a path means."""

from collections.abc import Mapping
from types import MappingProxyType

from headrace.security.control_guard import GuardedControl
from headrace.security.rollout_guard import GuardedRollouts
from headrace.settings import GrpcSettings
from headrace.transport.grpc.admin import AdminMethods
from headrace.transport.grpc.asked_first import asked_first
from headrace.transport.grpc.calls import ControlMethod, Method
from headrace.transport.grpc.health import HealthMethods
from headrace.transport.grpc.infer import InferenceService, ModelInfer
from headrace.transport.grpc.infer_stream import ModelStreamInfer
from headrace.transport.grpc.reflection import ReflectionMethods
from headrace.transport.grpc.repository_methods import RepositoryMethods
from headrace.transport.grpc.restricted import METADATA_PREFIX, restricted
from headrace.transport.grpc.rollout_methods import RolloutMethods
from headrace.transport.grpc.server_methods import ServerMethods
from headrace.transport.grpc.settings_methods import SettingsMethods
from headrace.transport.grpc.shared_memory import SharedMemoryMethods
from headrace.transport.grpc.statistics_methods import StatisticsMethods
from headrace.transport.limits import Limits
from headrace.transport.restriction import read_restrictions


def build_methods(
    inference: InferenceService,
    control: GuardedControl,
    settings: GrpcSettings,
    limits: Limits,
    rollouts: GuardedRollouts | None = None,
) -> Mapping[str, Method]:
    """Each method by its path, `/package.Service/Method`; ConfigError where a restriction is wrong.

    Without `rollouts` there is no service of that name.
    """
    methods: list[Method] = [
        *ModelInfer(inference, limits).methods(),
        *ModelStreamInfer(inference, limits).methods(),
        *ServerMethods(control).methods(),
        *StatisticsMethods(control).methods(),
        *RepositoryMethods(control).methods(),
        *SettingsMethods(control).methods(),
        *SharedMemoryMethods().methods(),
        *HealthMethods(control).methods(),
        *AdminMethods(control).methods(),
    ]
    if rollouts is not None:
        methods += RolloutMethods(rollouts, limits).methods()
    restrictions = read_restrictions(
        "grpc.restricted_protocols", settings.restricted_protocols, METADATA_PREFIX
    )
    if restrictions:
        methods = restricted(methods, restrictions, control.refused)
    if settings.reflection:
        services = {method.path.split("/")[1] for method in methods}
        methods += ReflectionMethods(services).methods()
    asking = [asked_first(each, control) if isinstance(each, ControlMethod) else each for each in methods]
    return MappingProxyType({method.path: method for method in asking})
