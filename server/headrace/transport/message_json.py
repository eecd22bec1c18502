"""A protobuf message as a JSON document: each field by its name in the `.proto`, each number as a number."""

from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

_WIDE = frozenset({FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_UINT64})


def message_json(message: Message) -> dict[str, Any]:
    """Every field that needs no presence, those that are not set too; of the others, those that are set."""
    document: dict[str, Any] = MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    _mend(document, message.DESCRIPTOR)
    return document


def _mend(document: dict[str, Any], described: Any) -> None:
    """Turns 64-bit integers, which protobuf's JSON has as texts, into numbers; keys of maps stay texts."""
    for field in described.fields:
        if field.name not in document:
            continue
        value = document[field.name]
        entry = field.message_type
        if field.cpp_type in _WIDE:
            document[field.name] = [int(item) for item in value] if isinstance(value, list) else int(value)
        elif entry is not None and entry.GetOptions().map_entry:
            _mend_map(value, entry.fields_by_name["value"])
        elif entry is not None:
            for item in value if isinstance(value, list) else [value]:
                _mend(item, entry)


def _mend_map(items: dict[str, Any], values: Any) -> None:
    for key, item in items.items():
        if values.message_type is not None:
            _mend(item, values.message_type)
        elif values.cpp_type in _WIDE:
            items[key] = int(item)
