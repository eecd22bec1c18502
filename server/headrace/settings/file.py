"""Settings from a YAML file: one mapping per group, each problem with its line."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import yaml

from headrace.settings.given import OPTIONS, Given
from headrace.settings.option import Option
from headrace.settings.suggestion import did_you_mean

MAX_FILE_BYTES = 2**20


def read_file(path: Path, problems: list[str]) -> Iterator[Given]:
    """What the file sets; a line in `problems` for each key that is unknown and each value that is wrong."""
    try:
        loader = yaml.SafeLoader(_content(path))
        root = loader.get_single_node()
    except OSError as error:
        problems.append(f"{path}: cannot be read: {error.strerror}")
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        problems.append(_not_yaml(path, error))
    else:
        yield from _FileReader(path, loader, problems).read(root)


class _FileReader:
    """Walks the nodes of one file, which know their lines."""

    def __init__(self, path: Path, loader: yaml.SafeLoader, problems: list[str]) -> None:
        self._path = path
        self._loader = loader
        self._problems = problems

    def read(self, root: yaml.Node | None) -> Iterator[Given]:
        if root is None:
            return
        for group, node in self._entries(root, "", OPTIONS):
            options = {option.name: option for option in OPTIONS[group]}
            if self._is_empty(node):
                continue
            for name, value_node in self._entries(node, f"{group}.", options):
                yield from self._take(options[name], value_node)

    def _entries(
        self, node: yaml.Node, prefix: str, known: Mapping[str, object]
    ) -> Iterator[tuple[str, yaml.Node]]:
        """The known keys of the mapping `node`, each once."""
        if not isinstance(node, yaml.MappingNode):
            self._refuse(node, f"{prefix.rstrip('.') or 'the file'}: expected `name: value` lines")
            return
        seen: set[str] = set()
        for key_node, value_node in node.value:
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else "?"
            if key not in known:
                meant = did_you_mean(prefix + key, [prefix + name for name in known])
                self._refuse(key_node, f"{prefix + key!r} is not a setting{meant}")
            elif key in seen:
                self._refuse(key_node, f"{prefix}{key}: is given twice: expected it once")
            else:
                seen.add(key)
                yield key, value_node

    def _take(self, option: Option, node: yaml.Node) -> Iterator[Given]:
        try:
            value = self._plain(node)
        except (yaml.YAMLError, ValueError, OverflowError):
            self._refuse(node, f"{option.key}: the value cannot be read: expected {option.expectation}")
            return
        try:
            yield Given(option.key, option.from_plain(value), f"{self._path}:{_line(node)}")
        except ValueError:
            self._refuse(node, f"{option.key}: {option.refusal(value)}")

    def _plain(self, node: yaml.Node) -> object:
        """A scalar, or a list of scalars; ValueError for what is nested, which no setting is."""
        if isinstance(node, yaml.ScalarNode):
            return self._loader.construct_object(node)
        if isinstance(node, yaml.SequenceNode) and all(
            isinstance(item, yaml.ScalarNode) for item in node.value
        ):
            return [self._loader.construct_object(item) for item in node.value]
        raise ValueError(node.tag)

    def _is_empty(self, node: yaml.Node) -> bool:
        return isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null"

    def _refuse(self, node: yaml.Node, problem: str) -> None:
        self._problems.append(f"{self._path}:{_line(node)}: {problem}")


def _content(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise ValueError(f"it has more than {MAX_FILE_BYTES} bytes")
    return content


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _not_yaml(path: Path, error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"{path}:{error.problem_mark.line + 1}: not YAML: {error.problem}"
    reason = "nested too deeply" if isinstance(error, RecursionError) else str(error).splitlines()[0]
    return f"{path}: not YAML: {reason}"
