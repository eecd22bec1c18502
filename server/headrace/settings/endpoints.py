"""Settings of the ports: where they listen, what they take, and who may call."""

# ruff: noqa: RUF009  option() makes a field, as dataclasses.field does

from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path

from headrace.errors import ConfigError
from headrace.settings.option import check, option

MAX_MESSAGE_BYTES = 2**31 - 1
MAX_MILLISECONDS = 2**31 - 1
MAX_PORT = 65535
# A century, which is longer than the calendar needs to go back.
MAX_KEEP_DAYS = 36_500


class Transport(StrEnum):
    """Which implementation of gRPC serves."""

    AUTO = "auto"
    GRPCIO = "grpcio"


class Compression(StrEnum):
    """How gRPC answers are compressed, where the caller accepts it."""

    NONE = "none"
    GZIP = "gzip"
    DEFLATE = "deflate"


@dataclass(frozen=True, slots=True)
class GrpcSettings:
    """The gRPC endpoint."""

    transport: Transport = option(Transport.AUTO, "Implementation of gRPC; auto takes the fastest there is.")
    address: str = option(
        "127.0.0.1", "Address to listen on; 0.0.0.0 opens the endpoint to other machines (Triton's default)."
    )
    port: int = option(8001, "Port to listen on; 0 takes a free one.", minimum=0, maximum=MAX_PORT)
    max_receive_message_bytes: int = option(
        MAX_MESSAGE_BYTES, "Largest request.", unit="bytes", minimum=1024, maximum=MAX_MESSAGE_BYTES
    )
    max_send_message_bytes: int = option(
        MAX_MESSAGE_BYTES, "Largest answer.", unit="bytes", minimum=1024, maximum=MAX_MESSAGE_BYTES
    )
    max_concurrent_streams: int = option(
        1024, "Calls that one connection may have open.", unit="calls", minimum=1, maximum=2**31 - 1
    )
    max_metadata_bytes: int = option(
        16384, "Largest metadata of one call.", unit="bytes", minimum=1024, maximum=2**24
    )
    keepalive_time_ms: int = option(
        7_200_000,
        "A connection on which nothing arrived for so long is sent a ping.",
        unit="milliseconds",
        aliases=("grpc-keepalive-time",),
        minimum=1,
        maximum=MAX_MILLISECONDS,
    )
    keepalive_timeout_ms: int = option(
        20_000,
        "How long a ping's answer may take before the connection is closed.",
        unit="milliseconds",
        aliases=("grpc-keepalive-timeout",),
        minimum=1,
        maximum=MAX_MILLISECONDS,
    )
    keepalive_permit_without_calls: bool = option(
        False, "Whether clients may send pings on a connection without a call."
    )
    http2_min_recv_ping_interval_without_data_ms: int = option(
        300_000,
        "Least time between a client's pings while no data flows; earlier ones are strikes.",
        unit="milliseconds",
        aliases=("grpc-http2-min-recv-ping-interval-without-data",),
        minimum=0,
        maximum=MAX_MILLISECONDS,
    )
    http2_max_ping_strikes: int = option(
        2,
        "Strikes after which a connection is closed; 0 allows any number.",
        unit="pings",
        minimum=0,
        maximum=2**31 - 1,
    )
    max_connection_age_ms: int = option(
        0,
        "Age at which a connection is asked to reconnect, so that load balancers spread it; 0 is never.",
        unit="milliseconds",
        aliases=("grpc-max-connection-age",),
        minimum=0,
        maximum=MAX_MILLISECONDS,
    )
    max_connection_age_grace_ms: int = option(
        30_000,
        "How long calls may go on after that.",
        unit="milliseconds",
        aliases=("grpc-max-connection-age-grace",),
        minimum=0,
        maximum=MAX_MILLISECONDS,
    )
    max_connection_idle_ms: int = option(
        0,
        "A connection without calls for so long is closed; 0 is never.",
        unit="milliseconds",
        minimum=0,
        maximum=MAX_MILLISECONDS,
    )
    compression: Compression = option(
        Compression.NONE, "How answers are compressed where the caller accepts it."
    )
    reflection: bool = option(True, "Whether the server describes its services (gRPC server reflection).")
    restricted_protocols: tuple[str, ...] = option(
        (),
        "Groups of methods that need a header, as in model-repository,logging:admin-key=SECRET for the "
        "metadata triton-grpc-protocol-admin-key; may be given several times.",
        aliases=("grpc-restricted-protocol",),
        is_secret=True,
    )
    so_reuseport: bool = option(
        False, "Whether another process may listen on the same port.", aliases=("reuse-grpc-port",)
    )

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """The HTTP/JSON endpoint."""

    enabled: bool = option(True, "Whether HTTP is served.", aliases=("allow-http",))
    address: str = option(
        "127.0.0.1", "Address to listen on; 0.0.0.0 opens the endpoint to other machines (Triton's default)."
    )
    port: int = option(8000, "Port to listen on; 0 takes a free one.", minimum=0, maximum=MAX_PORT)
    max_body_bytes: int = option(
        64 * 1024 * 1024,
        "Largest body of a request, decompressed.",
        unit="bytes",
        aliases=("http-max-input-size",),
        minimum=1024,
        maximum=MAX_MESSAGE_BYTES,
    )
    max_header_bytes: int = option(
        32 * 1024, "Largest headers of one request together.", unit="bytes", minimum=1024, maximum=2**24
    )
    max_connections: int = option(
        4096,
        "Connections that may be open at the same time; TLS handshakes under way are among them.",
        unit="connections",
        minimum=1,
    )
    handshake_timeout_s: float = option(
        10.0, "How long a TLS handshake may take.", unit="seconds", minimum=0.1
    )
    keepalive_timeout_s: float = option(
        75.0, "A connection without a request for so long is closed.", unit="seconds", minimum=1
    )
    receive_timeout_s: float = option(
        30.0,
        "How long a request's head may take to arrive, its body beyond 4 KiB a second, and a caller to read "
        "its answer.",
        unit="seconds",
        minimum=1,
    )
    allowed_hosts: tuple[str, ...] = option(
        (),
        "Names by which callers may address this endpoint and the metrics (Host header), with * for any "
        "part; none: any name, but on a loopback address only local ones, so that no web page reaches it "
        "under a name of its own.",
    )
    restricted_apis: tuple[str, ...] = option(
        (),
        "Groups of endpoints that need a header, as in model-repository,logging:admin-key=SECRET; may be "
        "given several times.",
        aliases=("http-restricted-api",),
        is_secret=True,
    )
    docs: bool = option(
        True, "Whether the endpoints are described at /openapi.json, with a page to try them at /docs."
    )

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """Encryption of every port; off where no certificate is named."""

    certificate: Path | None = option(
        None, "PEM file with the server's certificate, and those between it and its authority behind it."
    )
    key: Path | None = option(None, "PEM file with the certificate's private key, without a passphrase.")
    client_ca: Path | None = option(
        None,
        "PEM file with the authorities of callers' certificates; where it is given, every caller needs one.",
    )
    client_crl: Path | None = option(
        None,
        "PEM file with revocation lists of those authorities; callers with a certificate in one are refused.",
    )
    metrics: bool = option(True, "Whether the metrics' port is encrypted as well.")
    reload_interval_s: float = option(
        10.0,
        "How often the files are read again; new connections get what is new, those that are open stay.",
        unit="seconds",
        minimum=0.1,
    )

    @property
    def is_on(self) -> bool:
        return self.certificate is not None

    def __post_init__(self) -> None:
        check(self)
        if (self.certificate is None) != (self.key is None):
            missing = "key" if self.key is None else "certificate"
            raise ConfigError(f"tls.{missing}: is missing: expected both tls.certificate and tls.key")
        if self.client_ca is not None and self.certificate is None:
            raise ConfigError("tls.client_ca: has no effect without tls.certificate and tls.key")
        if self.client_crl is not None and self.client_ca is None:
            raise ConfigError("tls.client_crl: has no effect without tls.client_ca")


@dataclass(frozen=True, slots=True)
class SecuritySettings:
    """Who may call."""

    access_file: Path | None = option(
        None,
        "YAML file of roles, API keys and callers' certificates; without it everybody may do everything.",
        flag="access-file",
    )
    allow_anonymous: bool = option(
        False,
        "Whether ports that other machines reach may be open to everybody.",
        flag="allow-anonymous",
    )

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, slots=True)
class AuditSettings:
    """The record of who did what, in the state folder."""

    enabled: bool = option(
        True, "Whether who changed what, and who was refused, is recorded in the state folder.", flag="audit"
    )
    required: bool = option(
        False,
        "Whether a change that cannot be recorded is refused; otherwise the log warns, and it is made.",
    )
    inference_sample_rate: float = option(
        0.0, "Share of inference requests that is recorded too, 0 to 1.", minimum=0, maximum=1
    )
    keep_days: int = option(
        0,
        "How long records stay in the log before they are archived, once a day; 0 is for ever.",
        unit="days",
        minimum=0,
        maximum=MAX_KEEP_DAYS,
    )
    archive_dir: Path | None = option(
        None, "Folder that they are archived in; by default audit-archive in the state folder."
    )

    def __post_init__(self) -> None:
        check(self)
        if self.required and not self.enabled:
            raise ConfigError("audit.required: has no effect without audit.enabled")
        if self.keep_days and not self.enabled:
            raise ConfigError("audit.keep_days: has no effect without audit.enabled")
        if self.archive_dir is not None and not self.keep_days:
            raise ConfigError("audit.archive_dir: has no effect without audit.keep_days")


@dataclass(frozen=True, slots=True)
class LimitsSettings:
    """What one inference request may hold, over gRPC and HTTP alike."""

    max_inputs: int = option(256, "Inputs that one request may have.", unit="inputs", minimum=1)
    max_outputs: int = option(256, "Outputs that one request may ask for.", unit="outputs", minimum=1)
    max_parameters: int = option(
        256, "Parameters that a request, an input or an output may have.", unit="parameters", minimum=1
    )
    max_json_values: int = option(
        2_000_000,
        "Values that the JSON of one request may have, lists, objects and names of fields among them; binary "
        "data is not counted.",
        unit="values",
        minimum=1,
    )
    max_text_characters: int = option(
        65_536,
        "Length of a request's id, of a name in it, and of a parameter that is a text; elements of BYTES "
        "tensors may be longer.",
        unit="characters",
        minimum=64,
    )
    max_text_elements: int = option(
        1_000_000, "Elements that a BYTES input of a request may have.", unit="elements", minimum=1
    )

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, slots=True)
class MetricsSettings:
    """The Prometheus endpoint."""

    enabled: bool = option(True, "Whether metrics are served over HTTP.", aliases=("allow-metrics",))
    address: str = option("127.0.0.1", "Address to listen on; 0.0.0.0 opens it to other machines.")
    port: int = option(8002, "Port to listen on; 0 takes a free one.", minimum=0, maximum=MAX_PORT)

    def __post_init__(self) -> None:
        check(self)


def is_loopback(address: str) -> bool:
    """True for what only this machine reaches: its loopback, and Unix sockets."""
    if address.startswith(("unix:", "unix-abstract:")) or address == "localhost":
        return True
    try:
        return ip_address(address.strip("[]")).is_loopback
    except ValueError:
        return False
