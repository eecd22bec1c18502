"""A model's configuration as Triton's JSON of it: every field there is, by its name in the `.proto`."""

from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.json_format import MessageToDict

from headrace.pb.inference.model_config_pb2 import ModelConfig

_WIDE = frozenset({FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_UINT64})


def config_json(serialised: bytes) -> dict[str, Any]:
    """The configuration in `serialised`, an inference.ModelConfig; fields that are not set have defaults."""
    document: dict[str, Any] = MessageToDict(
        ModelConfig.FromString(serialised),
        preserving_proto_field_name=True,
        always_print_fields_with_no_presence=True,
    )
    _mend(document, ModelConfig.DESCRIPTOR)
    return document


def _mend(document: dict[str, Any], described: Any) -> None:
    """Turns 64-bit integers, which protobuf's JSON has as texts, into the numbers that Triton's has."""
    for field in described.fields:
        if field.name not in document:
            continue
        value = document[field.name]
        entry = field.message_type
        if field.cpp_type in _WIDE:
            document[field.name] = [int(item) for item in value] if isinstance(value, list) else int(value)
        elif entry is not None and entry.GetOptions().map_entry:
            values = entry.fields_by_name["value"]
            if values.message_type is not None:
                for item in value.values():
                    _mend(item, values.message_type)
        elif entry is not None:
            for item in value if isinstance(value, list) else [value]:
                _mend(item, entry)
