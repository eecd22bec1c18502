"""The server's settings: one frozen, checked group per part, and how they are read."""

from headrace.settings.endpoints import (
    AuditSettings,
    Compression,
    GrpcSettings,
    HttpSettings,
    LimitsSettings,
    MetricsSettings,
    SecuritySettings,
    TlsSettings,
    Transport,
)
from headrace.settings.groups import (
    ExecutionSettings,
    Gpu,
    LogFormat,
    LogLevel,
    LogSettings,
    ModelControlMode,
    RepositorySettings,
    ServerSettings,
    Settings,
)
from headrace.settings.rollout import RolloutSettings

__all__ = [
    "AuditSettings",
    "Compression",
    "ExecutionSettings",
    "Gpu",
    "GrpcSettings",
    "HttpSettings",
    "LimitsSettings",
    "LogFormat",
    "LogLevel",
    "LogSettings",
    "MetricsSettings",
    "ModelControlMode",
    "RepositorySettings",
    "RolloutSettings",
    "SecuritySettings",
    "ServerSettings",
    "Settings",
    "TlsSettings",
    "Transport",
]
