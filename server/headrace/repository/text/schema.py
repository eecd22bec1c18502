"""A tree of nodes to a protobuf message, led by the message's descriptor; every mistake is told."""

from typing import cast

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from headrace.repository.problems import Findings, shown
from headrace.repository.text.document import ListNode, MappingNode, Node, Scalar
from headrace.repository.text.scalar import ScalarError, read_scalar
from headrace.settings.suggestion import did_you_mean


class MessageReader:
    """Fills messages from nodes; problems go to `findings`, the lines of fields to `lines`.

    Conveniences beside the message's own form: null for a message means present with its defaults; a message
    of one field may be written as that field's value (`parameters: {threads: 2}`, `latest: 2`); a choice of
    messages may be written as the choice's name (`version_policy: all`). With `is_json`, as protobuf writes
    JSON: numbers may be quoted and field names in camelCase.
    """

    def __init__(self, findings: Findings, lines: dict[str, int], *, is_json: bool = False) -> None:
        self._findings = findings
        self._lines = lines
        self._is_json = is_json

    def fill(self, message: Message, node: Node, path: str = "") -> None:
        """Sets the fields of `message` that `node` gives."""
        if isinstance(node, Scalar) and node.is_null:
            message.SetInParent()
        elif isinstance(node, MappingNode):
            message.SetInParent()
            self._fill_fields(message, node, path)
        elif not self._fill_short_form(message, node, path):
            expected = f"a mapping with {_names(message)}"
            self._findings.refuse(path, f"{_described(node)} is given; expected {expected}")

    def _fill_fields(self, message: Message, node: MappingNode, path: str) -> None:
        choices: dict[str, str] = {}
        for key, value in node.entries:
            field_path = f"{path}.{key.text}" if path else key.text
            self._lines[field_path] = key.line
            field = self._field(message, key.text, field_path)
            if field is None or not self._is_only_choice(field, choices, field_path):
                continue
            self._fill_field(message, field, value, field_path)

    def _field(self, message: Message, name: str, path: str) -> FieldDescriptor | None:
        for field in _fields(message):
            if field.name == name or (self._is_json and field.camelcase_name == name):
                return field
        hint = did_you_mean(name, _field_names(message)) or f"; expected {_names(message)}"
        self._findings.refuse(path, f"unknown field {shown(name)}{hint}")
        return None

    def _is_only_choice(self, field: FieldDescriptor, choices: dict[str, str], path: str) -> bool:
        """False, and a problem, where another field of the same `oneof` came before."""
        oneof = field.containing_oneof
        first = choices.setdefault(oneof.name, field.name) if oneof is not None else field.name
        if first == field.name:
            return True
        self._findings.refuse(
            path, f"{field.name!r} excludes {first!r}, which is given too; keep one of them"
        )
        return False

    def _fill_field(self, message: Message, field: FieldDescriptor, node: Node, path: str) -> None:
        if _is_map(field):
            self._fill_map(message, field, node, path)
        elif field.is_repeated:
            self._fill_list(message, field, node, path)
        elif field.message_type is not None:
            self.fill(getattr(message, field.name), node, path)
        elif not (isinstance(node, Scalar) and node.is_null):
            value = self._scalar(field, node, path)
            if value is not None:
                setattr(message, field.name, value)

    def _fill_list(self, message: Message, field: FieldDescriptor, node: Node, path: str) -> None:
        if isinstance(node, Scalar) and node.is_null:
            return
        if not isinstance(node, ListNode):
            self._findings.refuse(path, f"{_described(node)} is given; expected a list")
            return
        target = getattr(message, field.name)
        for index, item in enumerate(node.items):
            item_path = f"{path}[{index}]"
            self._lines[item_path] = item.line
            if field.message_type is not None:
                self.fill(target.add(), item, item_path)
            else:
                value = self._scalar(field, item, item_path)
                if value is not None:
                    target.append(value)

    def _fill_map(self, message: Message, field: FieldDescriptor, node: Node, path: str) -> None:
        if isinstance(node, Scalar) and node.is_null:
            return
        if not isinstance(node, MappingNode):
            self._findings.refuse(path, f"{_described(node)} is given; expected a mapping")
            return
        target = getattr(message, field.name)
        key_field, value_field = _entry_fields(field)
        for key, item in node.entries:
            item_path = f"{path}.{key.text}"
            self._lines[item_path] = key.line
            name = self._scalar(key_field, Scalar(key.text, key.line), item_path)
            if name is None:
                continue
            if value_field.message_type is not None:
                self.fill(target[name], item, item_path)
            else:
                value = self._scalar(value_field, item, item_path)
                if value is not None:
                    target[name] = value

    def _fill_short_form(self, message: Message, node: Node, path: str) -> bool:
        """True where `node` is one of the short forms and has been read as such."""
        fields = _fields(message)
        if len(fields) == 1:
            message.SetInParent()
            self._fill_field(message, fields[0], node, path)
            return True
        if not isinstance(node, Scalar) or not all(_is_choice(field) for field in fields):
            return False
        if node.text in _field_names(message):
            getattr(message, node.text).SetInParent()
        else:
            expected = f"one of {_names(message)}{did_you_mean(node.text, _field_names(message))}"
            self._findings.refuse(path, f"{shown(node.text)} is given; expected {expected}")
        return True

    def _scalar(self, field: FieldDescriptor, node: Node, path: str) -> int | float | bool | str | None:
        """The value of `node` as `field` wants it, or None and a problem."""
        try:
            if not isinstance(node, Scalar):
                raise ScalarError(f"{_described(node)} is given; expected a single value")
            return read_scalar(field, node, is_json=self._is_json)
        except ScalarError as error:
            self._findings.refuse(path, str(error))
            return None


def _fields(message: Message) -> list[FieldDescriptor]:
    return cast(list[FieldDescriptor], list(message.DESCRIPTOR.fields))


def _field_names(message: Message) -> list[str]:
    return [field.name for field in _fields(message)]


def _names(message: Message) -> str:
    return ", ".join(_field_names(message)) or "no fields"


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)


def _entry_fields(field: FieldDescriptor) -> tuple[FieldDescriptor, FieldDescriptor]:
    """The fields of a map's key and of its value."""
    assert field.message_type is not None
    key, value = field.message_type.fields
    return key, value


def _is_choice(field: FieldDescriptor) -> bool:
    """True for a message that excludes its neighbours."""
    return field.containing_oneof is not None and field.message_type is not None


def _described(node: Node) -> str:
    match node:
        case Scalar():
            return "nothing" if node.is_null else shown(node.text)
        case ListNode():
            return "a list"
        case MappingNode():
            return "a mapping"
