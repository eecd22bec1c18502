"""A model's configuration as the operator wrote it: config.yaml, Triton's config.pbtxt, or JSON."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from google.protobuf import text_format
from google.protobuf.message import Message

from headrace.pb.headrace.v1 import routing_pb2
from headrace.pb.inference import model_config_pb2
from headrace.pb.pool import POOL
from headrace.repository.files.folder import FileRefused, Folder
from headrace.repository.problems import Findings, InvalidConfig, Problem
from headrace.repository.text.document import MAX_TEXT_BYTES, MappingNode, Node
from headrace.repository.text.json_document import parse_json
from headrace.repository.text.schema import MessageReader
from headrace.repository.text.yaml_document import parse_yaml
from headrace.settings.suggestion import did_you_mean

YAML_FILE = "config.yaml"
PBTXT_FILE = "config.pbtxt"
# Sections of ours, which no message of Triton has.
_ROUTING = ("route", "rollout")
_MISSPELT = ("config.yml", "config.pbtext", "config.json", "config.prototxt")
_UNKNOWN_FIELD = re.compile(r'Message type "([\w.]+)" has no field named "([^"]+)"')
_UNKNOWN_VALUE = re.compile(r'Enum type "([\w.]+)" has no value named (\S+?)\.?$')


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """A configuration, read but not yet completed; `lines` has the line of each field, by its path.

    `routing` has the sections that Triton does not know.
    """

    file: str
    message: model_config_pb2.ModelConfig
    lines: Mapping[str, int] = field(default_factory=dict)
    routing: routing_pb2.ModelRouting = field(default_factory=routing_pb2.ModelRouting)


def read_config_file(folder: Folder) -> ConfigFile:
    """The configuration in a model's folder, an empty one where there is no file.

    InvalidConfig has every problem of config.yaml, and the first one of config.pbtxt.
    """
    present = [name for name in (YAML_FILE, PBTXT_FILE) if name in folder.entries()]
    if len(present) == 2:
        raise InvalidConfig([Problem(folder.place, "", f"has both {YAML_FILE} and {PBTXT_FILE}; keep one")])
    if not present:
        _refuse_misspelt(folder)
        return ConfigFile(folder.place, model_config_pb2.ModelConfig())
    file = f"{folder.place}/{present[0]}"
    text = _decode(file, _read(folder, present[0]))
    return parse_yaml_config(file, text) if present[0] == YAML_FILE else parse_pbtxt_config(file, text)


def parse_yaml_config(file: str, text: str) -> ConfigFile:
    """The configuration in YAML `text`; InvalidConfig has all its problems, under the name `file`."""
    findings = Findings(file)
    return _convert(findings, parse_yaml(text, findings), is_json=False)


def parse_json_config(file: str, text: str) -> ConfigFile:
    """The configuration in JSON `text`, as Triton's load call carries it; InvalidConfig as above."""
    _check_size(file, len(text))
    findings = Findings(file)
    return _convert(findings, parse_json(text, findings), is_json=True)


def parse_pbtxt_config(file: str, text: str) -> ConfigFile:
    """The configuration in protobuf's text form; InvalidConfig has the parser's complaint and its line."""
    message = model_config_pb2.ModelConfig()
    try:
        text_format.Parse(text, message, descriptor_pool=POOL)
    except text_format.ParseError as error:
        reason = re.sub(r"^\d+:\d+ : ('': )?", "", str(error)).rstrip(".") + _hint(str(error))
        raise InvalidConfig([Problem(file, "", " ".join(reason.split()), error.GetLine() or 0)]) from error
    except (ValueError, RecursionError) as error:
        raise InvalidConfig([Problem(file, "", f"not a valid text-format message: {error}")]) from error
    findings = Findings(file)
    _check_enums(message, "", findings)
    findings.raise_problems()
    return ConfigFile(file, message)


def _convert(findings: Findings, root: Node | None, *, is_json: bool) -> ConfigFile:
    message, routing = model_config_pb2.ModelConfig(), routing_pb2.ModelRouting()
    lines: dict[str, int] = {}
    findings.lines = lines
    reader = MessageReader(findings, lines, is_json=is_json)
    if isinstance(root, MappingNode):
        ours = tuple(entry for entry in root.entries if entry[0].text in _ROUTING)
        reader.fill(routing, MappingNode(ours, root.line))
        root = MappingNode(tuple(entry for entry in root.entries if entry not in ours), root.line)
    if root is not None:
        reader.fill(message, root)
    findings.raise_problems()
    return ConfigFile(findings.file, message, lines, routing)


def _refuse_misspelt(folder: Folder) -> None:
    for name in folder.entries():
        if name in _MISSPELT:
            expected = f"is not read; name it {YAML_FILE} or {PBTXT_FILE}"
            raise InvalidConfig([Problem(f"{folder.place}/{name}", "", expected)])


def _read(folder: Folder, name: str) -> bytes:
    try:
        return folder.read(name, MAX_TEXT_BYTES)
    except FileRefused as error:
        raise InvalidConfig([Problem("", "", str(error))]) from error


def _decode(file: str, data: bytes) -> str:
    """The text in `data`, without a byte order mark."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        message = f"byte {data[error.start]:#04x} is not UTF-8; save the file as UTF-8"
        raise InvalidConfig([Problem(file, "", message, line)]) from error


def _check_size(file: str, size: int) -> None:
    if size > MAX_TEXT_BYTES:
        raise InvalidConfig([Problem(file, "", f"holds {size} bytes; at most {MAX_TEXT_BYTES} are read")])


def _check_enums(message: Message, path: str, findings: Findings) -> None:
    """Refuses enum values by numbers that mean nothing, which the text format lets pass."""
    for descriptor, value in message.ListFields():
        field_path = f"{path}.{descriptor.name}" if path else descriptor.name
        enum = descriptor.enum_type
        if descriptor.message_type is not None:
            for inner_path, inner in _inner_messages(field_path, value):
                _check_enums(inner, inner_path, findings)
        elif enum is not None and value not in enum.values_by_number:
            expected = ", ".join(enum.values_by_name)
            findings.refuse(field_path, f"{value} is given; expected one of {expected}")


def _inner_messages(path: str, value: Any) -> Iterator[tuple[str, Message]]:
    """The messages in a field's value, be it a map, a list or one message, with their paths."""
    if isinstance(value, Message):
        yield path, value
    elif hasattr(value, "items"):
        yield from ((f"{path}.{key}", item) for key, item in value.items() if isinstance(item, Message))
    else:
        yield from ((f"{path}[{index}]", item) for index, item in enumerate(value))


def _hint(complaint: str) -> str:
    """A suggestion where the parser met a name that it does not know."""
    if unknown := _UNKNOWN_FIELD.search(complaint):
        fields = POOL.FindMessageTypeByName(unknown[1]).fields_by_name
        return did_you_mean(unknown[2], fields.keys())
    if unknown := _UNKNOWN_VALUE.search(complaint):
        values = POOL.FindEnumTypeByName(unknown[1]).values_by_name
        return did_you_mean(unknown[2], values.keys())
    return ""
