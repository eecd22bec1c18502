"""Plans and routes in files: YAML, or JSON where the file's name says so."""

from pathlib import Path

from headrace.core.plan import Plan
from headrace.core.route import Route
from headrace.errors import ConfigError
from headrace.repository.routing.reading import parse_plan, parse_route


def read_plan_file(path: Path) -> Plan:
    """ConfigError names all that is wrong with it, with lines."""
    return parse_plan(_text(path, "--plan"), str(path), is_json=_is_json(path))


def read_route_file(path: Path) -> Route:
    """ConfigError names all that is wrong with it, with lines."""
    return parse_route(_text(path, "--file"), str(path), is_json=_is_json(path))


def _is_json(path: Path) -> bool:
    return path.suffix.lower() == ".json"


def _text(path: Path, argument: str) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{argument}: {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{argument}: {path} is not UTF-8: {error.reason}") from None
