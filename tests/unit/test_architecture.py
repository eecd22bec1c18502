"""The house's rules, read from the syntax tree: which way imports go, and fences for other packages."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "server" / "headrace"

# Lowest first; a module may import from its own line and from those before it.
LAYERS = [
    {"errors", "version", "settings", "logs", "metrics", "pb", "state"},
    {"core"},
    {"repository"},
    {"backend"},
    {"instance"},
    {"scheduler"},
    {"model"},
    {"router"},
    {"rollout"},
    {"service"},
    {"security"},
    {"transport"},
    {"sampling", "server"},
    {"cli"},
]

CLIENT_COMMANDS = {f"cli/{name}.py" for name in ("client", "infer", "models", "batches")}

# Which files may import which package (a path ending in / stands for the folder).
FENCES = {
    "onnxruntime": {"backend/onnx.py", "cli/version.py"},
    "onnx": {"repository/graph/"},
    "grpc": {"transport/grpc/grpcio.py", *CLIENT_COMMANDS},
    "headrace.pb": {"transport/grpc/", "transport/http/config_json.py", "repository/", "cli/", "pb/"},
    "cryptography": {"security/"},
    "httptools": {"transport/http/"},
    "jwt": {"security/"},
    "orjson": {"transport/http/"},
    "prometheus_client": {"metrics/"},
    "sqlite3": {"state/", "security/audit/", "rollout/store.py", "rollout/outside/outbox.py"},
    "uvloop": {"server.py"},
    "watchfiles": {"repository/changes.py"},
    "yaml": {"repository/", "settings/", "security/"},
}


def sources() -> list[Path]:
    return [path for path in sorted(PACKAGE.rglob("*.py")) if "_pb2" not in path.name]


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def layer_of(room: str) -> int:
    (layer,) = [index for index, rooms in enumerate(LAYERS) if room in rooms]
    return layer


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_one_way(path):
    here = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if here == "__init__":
        return
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "headrace" and len(parts) > 1:
            assert layer_of(parts[1]) <= layer_of(here), f"{here} imports {name}, which stands above it"


@pytest.mark.parametrize("package", FENCES)
def test_other_packages_stay_behind_their_fence(package):
    for path in sources():
        place = str(path.relative_to(PACKAGE))
        if any(
            place == allowed or (allowed.endswith("/") and place.startswith(allowed))
            for allowed in FENCES[package]
        ):
            continue
        for name in imports(path):
            assert name != package and not name.startswith(f"{package}."), f"{place} imports {name}"


def test_router_knows_nothing_of_what_stands_beside_it():
    for path in (PACKAGE / "router").glob("*.py"):
        assert not [name for name in imports(path) if name.startswith("headrace.monitor")]


def test_every_file_says_what_it_is_for():
    for path in sources():
        source = path.read_text()
        assert not source.strip() or ast.get_docstring(ast.parse(source)), f"{path} has no first sentence"
