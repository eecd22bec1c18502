"""A model on a server: what it takes, which requests a file holds for it, and what it answers."""

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from headrace.cli.client import MODEL_INFER, MODEL_METADATA, Client
from headrace.cli.request_file import CsvRows, UnnamedRows, read_file, to_values
from headrace.cli.requests import InputSpec, PreparedRequest, cut, datatype_of
from headrace.cli.results import Result
from headrace.cli.tensors import decode
from headrace.errors import ConfigError, HeadraceError
from headrace.pb.inference import grpc_service_pb2

_SCORES = ("FP16", "FP32", "FP64", "BF16")


class RemoteModel:
    """The model `name` on the server of `client`; its metadata is asked for only where it is needed."""

    def __init__(self, client: Client, name: str, version: str) -> None:
        self._client = client
        self._name = name
        self._version = version
        self._metadata: grpc_service_pb2.ModelMetadataResponse | None = None

    def inputs(self) -> Mapping[str, InputSpec]:
        return {
            item.name: InputSpec(
                item.name, datatype_of(item.datatype, f"input {item.name!r}"), tuple(item.shape)
            )
            for item in self._read().inputs
        }

    def classes(self, count: int) -> dict[str, int]:
        """`count` for each output of scores, 0 for the others, whose values are no scores of classes."""
        return {item.name: count if item.datatype in _SCORES else 0 for item in self._read().outputs}

    def requests(self, file: Path, input_name: str, batch_size: int) -> Iterator[PreparedRequest]:
        """What the file holds, rows cut into requests; an `input_name` of "" means the only input."""
        content = read_file(file)
        if isinstance(content, Sequence):
            yield from content
            return
        specs = self.inputs()
        if isinstance(content, UnnamedRows | CsvRows):
            spec = _only_input(specs, input_name)
            values = to_values(content, spec) if isinstance(content, CsvRows) else content.values
            content = {spec.name: values}
        unknown = sorted(content.keys() - specs.keys())
        if unknown:
            raise ConfigError(f"{file}: {unknown[0]!r} is no input: expected {names(specs)}")
        yield from cut(content, specs, batch_size)

    def infer(self, request: PreparedRequest) -> Result:
        """The answer or what went wrong."""
        message = request.to_message(self._name, self._version)
        started = time.monotonic()
        try:
            response = self._client.call(MODEL_INFER, message)
            elapsed_s = time.monotonic() - started
            return Result(request, elapsed_s, response=response, outputs=decode(response))
        except HeadraceError as error:
            return Result(request, time.monotonic() - started, error=str(error))

    def _read(self) -> grpc_service_pb2.ModelMetadataResponse:
        if self._metadata is None:
            request = grpc_service_pb2.ModelMetadataRequest(name=self._name, version=self._version)
            self._metadata = self._client.call(MODEL_METADATA, request)
        return self._metadata


def names(specs: Mapping[str, InputSpec]) -> str:
    """The inputs for a message."""
    return ", ".join(specs) or "none, as the server's metadata has none"


def _only_input(specs: Mapping[str, InputSpec], name: str) -> InputSpec:
    if name:
        if name not in specs:
            raise ConfigError(f"--input: {name!r} is no input: expected {names(specs)}")
        return specs[name]
    if len(specs) != 1:
        raise ConfigError(f"the file names no input: expected --input with one of {names(specs)}")
    return next(iter(specs.values()))
