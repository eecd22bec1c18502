"""The server's settings: one frozen, checked group per part, and how they are read."""

from headrace.settings.groups import (
    Compression,
    ExecutionSettings,
    Gpu,
    GrpcSettings,
    HttpSettings,
    LimitsSettings,
    LogFormat,
    LogLevel,
    LogSettings,
    MetricsSettings,
    ModelControlMode,
    RepositorySettings,
    ServerSettings,
    Settings,
    TlsSettings,
    Transport,
)

__all__ = [
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
    "ServerSettings",
    "Settings",
    "TlsSettings",
    "Transport",
]
