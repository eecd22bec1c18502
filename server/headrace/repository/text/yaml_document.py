"""YAML text to a tree of nodes, from the parser's events: bounded in depth and size, nothing constructed."""

from dataclasses import dataclass, field

import yaml
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from headrace.repository.problems import Findings, Problem, shown
from headrace.repository.text.document import MAX_DEPTH, MAX_NODES, ListNode, MappingNode, Node, Scalar

# The parser in C, where PyYAML has it, is many times faster; the one in Python explains errors better.
_LOADERS = tuple(dict.fromkeys((getattr(yaml, "CSafeLoader", yaml.SafeLoader), yaml.SafeLoader)))


def parse_yaml(text: str, findings: Findings) -> Node | None:
    """The document in `text`, or None where there is none or its problems are in `findings`."""
    known = len(findings.problems)
    for loader in _LOADERS:
        del findings.problems[known:]
        builder = _Builder(findings)
        try:
            for event in yaml.parse(text, Loader=loader):
                builder.take(event)
            return builder.root
        except _TooMuch as error:
            findings.problems.append(error.problem(findings.file))
            return None
        except (yaml.YAMLError, ValueError, OverflowError) as error:
            refused: Exception = error
    _refuse_syntax(text, refused, findings)
    return None


class _TooMuch(Exception):
    """The document is over a limit, or unlike what a configuration may be."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line

    def problem(self, file: str) -> Problem:
        return Problem(file, "", str(self), self.line)


@dataclass(slots=True)
class _Open:
    """A list or mapping whose end has not come yet; `size` counts its nodes, aliases expanded."""

    is_mapping: bool
    line: int
    anchor: str | None
    children: list[Node] = field(default_factory=list)
    size: int = 1


class _Builder:
    """Builds the tree from events, without recursion."""

    def __init__(self, findings: Findings) -> None:
        self.root: Node | None = None
        self._findings = findings
        self._open: list[_Open] = []
        self._anchors: dict[str, tuple[Node, int]] = {}
        self._nodes = 0
        self._documents = 0

    def take(self, event: Event) -> None:
        line = event.start_mark.line + 1 if event.start_mark else 0
        self._refuse_tag(event, line)
        match event:
            case DocumentStartEvent():
                self._start_document(line)
            case MappingStartEvent() | SequenceStartEvent():
                self._start(isinstance(event, MappingStartEvent), line, event.anchor)
            case MappingEndEvent() | SequenceEndEvent():
                self._end()
            case ScalarEvent():
                scalar = Scalar(event.value, line, is_quoted=not event.implicit[0])
                self._add(scalar, 1, event.anchor, line)
            case AliasEvent():
                self._add_alias(event.anchor, line)

    def _start_document(self, line: int) -> None:
        self._documents += 1
        if self._documents > 1:
            raise _TooMuch(line, "a second document starts here; expected one document a file")

    def _start(self, is_mapping: bool, line: int, anchor: str | None) -> None:
        if len(self._open) >= MAX_DEPTH:
            raise _TooMuch(line, f"nested more than {MAX_DEPTH} levels deep")
        if anchor:
            self._anchors.pop(anchor, None)
        self._count(1, line)
        self._open.append(_Open(is_mapping, line, anchor))

    def _end(self) -> None:
        done = self._open.pop()
        node: Node
        node = self._mapping(done) if done.is_mapping else ListNode(tuple(done.children), done.line)
        self._attach(node, done.size, done.anchor)

    def _add(self, node: Node, size: int, anchor: str | None, line: int) -> None:
        self._count(size, line)
        self._attach(node, size, anchor)

    def _add_alias(self, anchor: str | None, line: int) -> None:
        if anchor is None or anchor not in self._anchors:
            raise _TooMuch(line, f"alias *{anchor} has no finished anchor &{anchor} before it")
        self._add(*self._anchors[anchor], None, line)

    def _attach(self, node: Node, size: int, anchor: str | None) -> None:
        if anchor:
            self._anchors[anchor] = (node, size)
        if self._open:
            self._open[-1].children.append(node)
            self._open[-1].size += size
        else:
            self.root = node

    def _count(self, size: int, line: int) -> None:
        self._nodes += size
        if self._nodes > MAX_NODES:
            raise _TooMuch(line, f"more than {MAX_NODES} values, aliases expanded")

    def _mapping(self, done: _Open) -> MappingNode:
        entries: dict[str, tuple[Scalar, Node]] = {}
        for key, value in zip(done.children[::2], done.children[1::2], strict=True):
            if not isinstance(key, Scalar):
                self._refuse(key.line, "a list or mapping is used as a key; expected a field name")
            elif key.text == "<<" and not key.is_quoted:
                self._refuse(key.line, "merge keys (<<) are not read; repeat the fields or use an alias")
            elif key.text in entries:
                first = entries[key.text][0].line
                self._refuse(key.line, f"{shown(key.text)} is given twice, first on line {first}")
            else:
                entries[key.text] = (key, value)
        return MappingNode(tuple(entries.values()), done.line)

    def _refuse_tag(self, event: Event, line: int) -> None:
        tag = getattr(event, "tag", None)
        if tag not in (None, "!"):
            self._refuse(line, f"tag {shown(tag)} is not read; write the value without a tag")

    def _refuse(self, line: int, message: str) -> None:
        self._findings.problems.append(Problem(self._findings.file, "", message, line))


def _refuse_syntax(text: str, error: Exception, findings: Findings) -> None:
    """Adds what the parser says, in one line, with its place."""
    line, reason = 0, str(error)
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 0
        reason = " ".join(part for part in (error.problem, error.context) if part)
    elif isinstance(error, yaml.reader.ReaderError):
        line = text.count("\n", 0, error.position) + 1
        reason = f"character {chr(error.character)!a} is not allowed in YAML"
    if "'\\t'" in reason:
        reason += "; YAML indents with spaces, not with tabs"
    findings.problems.append(Problem(findings.file, "", f"not valid YAML: {' '.join(reason.split())}", line))
