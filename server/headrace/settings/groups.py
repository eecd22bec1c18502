"""Every setting of the server: one frozen, checked group per part, each field with its unit and meaning."""

# ruff: noqa: RUF009  option() makes a field, as dataclasses.field does

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from headrace.errors import ConfigError
from headrace.settings.endpoints import (
    AuditSettings,
    GrpcSettings,
    HttpSettings,
    LimitsSettings,
    MetricsSettings,
    SecuritySettings,
    TlsSettings,
    is_loopback,
)
from headrace.settings.option import check, option
from headrace.settings.rollout import RolloutSettings


class ModelControlMode(StrEnum):
    """Who decides which models are loaded: the repository as it changes, callers, or only the start."""

    POLL = "poll"
    EXPLICIT = "explicit"
    NONE = "none"


class Gpu(StrEnum):
    """Whether GPUs are used: where there are any, or never."""

    AUTO = "auto"
    OFF = "off"


class LogLevel(StrEnum):
    """The least important lines that are still written."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    """How a log line looks: words for people, or one JSON object."""

    TEXT = "text"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class RepositorySettings:
    """Where models come from and when they are loaded."""

    path: Path = option(
        Path("model_repository"),
        "Folder with one folder per model.",
        flag="model-repository",
        aliases=("model-store",),
    )
    model_control_mode: ModelControlMode = option(
        ModelControlMode.POLL,
        "Who decides what is loaded: poll follows the repository, explicit waits for load and unload calls, "
        "none loads everything once at the start.",
        flag="model-control-mode",
    )
    poll_interval_s: float = option(
        5.0,
        "How often the repository is read again in poll mode; a change that the file system reports is seen "
        "earlier.",
        unit="seconds",
        aliases=("repository-poll-secs",),
        minimum=0.1,
    )
    settle_time_s: float = option(
        1.0,
        "How long a version's files must stay unchanged before it is loaded, so that half a copy is not.",
        unit="seconds",
        minimum=0,
    )
    ready_marker: str | None = option(
        None,
        "Name of a file that must lie in a version's folder before it is loaded.",
    )
    require_manifest: bool = option(
        False,
        "Whether a version is loaded only where a SHA256SUMS in its folder vouches for its files; one that "
        "is there is always checked.",
        flag="require-manifest",
    )
    require_golden: bool = option(
        False,
        "Whether a version is loaded only where its folder has golden requests; those that are there are "
        "always run, and have to be answered as they say.",
        flag="require-golden",
    )
    load_models: tuple[str, ...] = option(
        (),
        "Model to load at the start in explicit mode; * for all; may be given several times.",
        flag="load-model",
    )
    default_max_batch_size: int = option(
        32,
        "Largest batch of a model whose configuration names none and whose graph can batch; 0 turns batching "
        "off for such models.",
        unit="rows",
        flag="default-max-batch-size",
        minimum=0,
    )
    load_threads: int = option(
        2,
        "How many versions are loaded at the same time.",
        unit="threads",
        flag="load-threads",
        aliases=("model-load-thread-count",),
        minimum=1,
    )
    exit_on_error: bool = option(
        False,
        "Whether a model that cannot be loaded at the start ends the server (Triton's default); otherwise "
        "the others are served and it is listed as UNAVAILABLE.",
        flag="exit-on-error",
    )

    def __post_init__(self) -> None:
        check(self)
        if self.load_models and self.model_control_mode is not ModelControlMode.EXPLICIT:
            raise ConfigError(
                f"repository.load_models: has no effect where repository.model_control_mode is "
                f"{self.model_control_mode}: expected explicit"
            )


@dataclass(frozen=True, slots=True)
class ExecutionSettings:
    """What models run on, and how long they may take."""

    cpu_cores: int = option(
        0,
        "CPU cores to share among models; 0 takes all that the process may use.",
        unit="cores",
        flag="cpu-cores",
        minimum=0,
    )
    execution_timeout_ms: int = option(
        120_000,
        "How long one batch may run before its worker is taken to hang; 0 waits for ever.",
        unit="milliseconds",
        flag="execution-timeout-ms",
        minimum=0,
    )
    inline_limit_us: int = option(
        300,
        "A model whose largest batch takes less than this, and never more, executes on the event loop "
        "instead of on a thread; 0 is never.",
        unit="microseconds",
        flag="inline-limit-us",
        minimum=0,
        maximum=10_000,
    )
    tune_batch_size: bool = option(
        True,
        "Whether a model's batches are measured when it is loaded, and kept no larger than pays; "
        "a preferred_batch_size or a queue delay in a model's configuration goes before it.",
        flag="tune-batch-size",
    )
    default_instance_count: int = option(
        0,
        "Instances of a model whose configuration names no number; 0 lets the server choose.",
        unit="instances",
        flag="default-instance-count",
        minimum=0,
    )
    warmup: bool = option(True, "Whether a version runs once before it is served.", flag="warmup")
    default_max_queue_size: int = option(
        1024,
        "Requests that may wait for a model whose configuration names no number; more are turned away.",
        unit="requests",
        flag="default-max-queue-size",
        minimum=1,
    )
    gpu: Gpu = option(Gpu.AUTO, "Whether models run on the GPUs that are found.", flag="gpu")

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, slots=True)
class LogSettings:
    """What is written to standard error, and how."""

    level: LogLevel = option(LogLevel.INFO, "Least important lines that are written.")
    verbose_level: int = option(
        0, "Above 0, lines for debugging are written too.", aliases=("log-verbose",), minimum=0
    )
    format: LogFormat = option(LogFormat.TEXT, "Words for people, or one JSON object a line.")

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """The process as a whole."""

    name: str = option("headrace", "Name in the server's metadata.", flag="server-name", aliases=("id",))
    drain_timeout_s: float = option(
        30.0,
        "How long requests under way may take when the server is told to stop.",
        unit="seconds",
        flag="drain-timeout-s",
        aliases=("drain-timeout", "exit-timeout-secs"),
        minimum=0,
    )
    drain_delay_s: float = option(
        0.0,
        "How long new requests are still taken after readiness is off, so that load balancers notice before "
        "connections are told to go away.",
        unit="seconds",
        flag="drain-delay-s",
        minimum=0,
    )
    state_dir: Path = option(
        Path("state"), "Folder for what the server must remember by itself.", flag="state-dir"
    )

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, slots=True)
class Settings:
    """The whole; each part of the server gets its own group only."""

    repository: RepositorySettings = field(default_factory=RepositorySettings)
    execution: ExecutionSettings = field(default_factory=ExecutionSettings)
    grpc: GrpcSettings = field(default_factory=GrpcSettings)
    http: HttpSettings = field(default_factory=HttpSettings)
    metrics: MetricsSettings = field(default_factory=MetricsSettings)
    tls: TlsSettings = field(default_factory=TlsSettings)
    security: SecuritySettings = field(default_factory=SecuritySettings)
    audit: AuditSettings = field(default_factory=AuditSettings)
    limits: LimitsSettings = field(default_factory=LimitsSettings)
    rollout: RolloutSettings = field(default_factory=RolloutSettings)
    log: LogSettings = field(default_factory=LogSettings)
    server: ServerSettings = field(default_factory=ServerSettings)

    def __post_init__(self) -> None:
        self._check_ports()
        self._check_open()

    @property
    def is_open(self) -> bool:
        """True where other machines reach a port and nobody is asked who they are."""
        return self.is_reachable and not self.security.access_file

    @property
    def is_reachable(self) -> bool:
        """True where other machines reach a port without a certificate."""
        if self.tls.client_ca:
            return False
        return not all(is_loopback(address) for _, address, _ in self._endpoints())

    def _endpoints(self) -> Iterator[tuple[str, str, int]]:
        """The group, the address and the port of each endpoint that is served."""
        yield "grpc", self.grpc.address, self.grpc.port
        if self.http.enabled:
            yield "http", self.http.address, self.http.port
        if self.metrics.enabled:
            yield "metrics", self.metrics.address, self.metrics.port

    def _check_ports(self) -> None:
        taken: dict[tuple[str, int], str] = {}
        for name, address, port in self._endpoints():
            other = taken.setdefault((address, port), name)
            if port and other != name:
                raise ConfigError(f"{name}.port: {port} is {other}.port already: expected another port")

    def _check_open(self) -> None:
        """Whoever opens a port to other machines has to say who may call, or that everybody may."""
        if not self.is_open or self.security.allow_anonymous:
            return
        name, address = next(
            (name, address) for name, address, _ in self._endpoints() if not is_loopback(address)
        )
        raise ConfigError(
            f"{name}.address: {address} is open to other machines, and nobody is asked who they are: "
            "expected security.access_file (--access-file) or tls.client_ca, or security.allow_anonymous "
            "(--allow-anonymous)"
        )
