"""External data: the part of a file that an initializer names, told apart from paths that lead elsewhere."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from onnx import TensorProto

from headrace.repository.files.names import components
from headrace.repository.graph.proto_text import text
from headrace.repository.graph.tensor_proto import byte_size

_NUMBER = re.compile(r"[0-9]{1,19}")
_KEYS = frozenset({"location", "offset", "length", "checksum"})
# ONNX Runtime takes this "location" for an address in its own memory.
_MEMORY_ADDRESS = "*/_ORT_MEM_ADDR_/*"


@dataclass(frozen=True, slots=True)
class ExternalPart:
    """`length_bytes` bytes at `offset_bytes` of the file `path`, which the graph writes as `location`."""

    location: str
    path: str
    offset_bytes: int
    length_bytes: int

    def check(self, data: bytes) -> None:
        """ValueError where `data`, the file's contents, does not hold the part."""
        end = self.offset_bytes + self.length_bytes
        if end > len(data):
            raise ValueError(
                f"needs bytes {self.offset_bytes} to {end} of {self.path!r}, which holds {len(data)} bytes"
            )


def is_external(tensor: TensorProto) -> bool:
    """True where any sign says that the data lies in a file."""
    return tensor.data_location != TensorProto.DEFAULT or len(tensor.external_data) > 0


def external_part(tensor: TensorProto) -> ExternalPart:
    """What `tensor` names; ValueError where it contradicts itself, PathRefused where it leads out."""
    if tensor.data_location != TensorProto.EXTERNAL:
        raise ValueError("names external data, but says that its data is inside the graph")
    entries = _entries(tensor)
    location = entries.get("location", "")
    if location.startswith(_MEMORY_ADDRESS[:2]):
        raise ValueError(f"names the external data {location!r}; expected a file beside the graph")
    path = "/".join(components(location))
    size = byte_size(tensor)
    if size is None:
        raise ValueError("has strings as external data, which ONNX does not allow")
    length = _number(entries, "length", size)
    if length != size:
        raise ValueError(f"names {length} bytes of external data, but its dims and type need {size}")
    return ExternalPart(location, path, _number(entries, "offset", 0), size)


def _entries(tensor: TensorProto) -> Mapping[str, str]:
    entries: dict[str, str] = {}
    for entry in tensor.external_data:
        key = text(entry.key)
        if key not in _KEYS:
            raise ValueError(f"has the external data key {key!r}; expected {', '.join(sorted(_KEYS))}")
        if key in entries:
            raise ValueError(f"has the external data key {key!r} twice")
        entries[key] = text(entry.value)
    return entries


def _number(entries: Mapping[str, str], key: str, default: int) -> int:
    written = entries.get(key)
    if written is None:
        return default
    if _NUMBER.fullmatch(written) is None:
        raise ValueError(f"has the external data {key} {written!r}; expected a number of bytes, 0 or more")
    return int(written)
