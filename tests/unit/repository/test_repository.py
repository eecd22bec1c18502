"""The repository: what a scan sees, and versions read from disk or from a load call's own files."""

import json
from hashlib import sha256
from pathlib import Path

import pytest
from onnx_graphs import linear, model, write_model

from headrace.errors import ConfigError, HeadraceError, LoadError, NotFound
from headrace.repository import repository as repository_module
from headrace.repository.config import VersionPolicy
from headrace.repository.graph.reading import read_graph
from headrace.repository.override import Override
from headrace.repository.repository import Repository
from headrace.repository.version_policy import select

MODEL_BYTES = model().SerializeToString()


def test_a_scan_lists_models_and_versions_in_order(tmp_path: Path) -> None:
    for version in (10, 2, 1):
        write_model(tmp_path, name="b", version=version)
    write_model(tmp_path, name="a")
    scan = Repository(tmp_path).scan()
    assert list(scan.models) == ["a", "b"]
    assert scan.models["b"].numbers == (1, 2, 10)


def test_a_scan_tells_why_an_entry_is_no_model(tmp_path: Path) -> None:
    write_model(tmp_path)
    for name in (".git", "lost+found", "copy.tmp", "a b", "ü"):
        (tmp_path / name).mkdir()
    (tmp_path / "README.md").write_text("")
    (tmp_path / "link").symlink_to("m")
    scan = Repository(tmp_path).scan()
    assert list(scan.models) == ["m"]
    assert scan.ignored["link"] == "is a symbolic link; expected a folder"
    assert scan.ignored["README.md"] == "is a file; expected a folder"
    assert "temporary" in scan.ignored["copy.tmp"]
    assert set(scan.ignored) == {".git", "lost+found", "copy.tmp", "a b", "ü", "README.md", "link"}


def test_a_scan_tells_why_an_entry_is_no_version(tmp_path: Path) -> None:
    folder = write_model(tmp_path)
    for name in ("0", "01", "-1", "latest", ".2", "3.tmp", "9999999999999999999"):
        (folder / name).mkdir()
    (folder / "2").symlink_to("1")
    (folder / "4").write_text("a file")
    found = Repository(tmp_path).scan().models["m"]
    assert found.numbers == (1,)
    assert "symbolic link" in found.ignored["2"]
    assert "not a folder" in found.ignored["4"]
    assert "without leading zeros" in found.ignored["01"]


def test_a_missing_repository_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"model repository '.*/none/deep' does not exist"):
        Repository(tmp_path / "none" / "deep").scan()
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="is not a folder"):
        Repository(tmp_path / "file").scan()


def test_scans_are_equal_until_something_changes(tmp_path: Path) -> None:
    folder = write_model(tmp_path, config="max_batch_size: 4")
    repository = Repository(tmp_path)
    before = repository.scan()
    assert repository.scan() == before
    (folder / "config.yaml").write_text("max_batch_size: 16")
    changed = repository.scan()
    assert changed.models["m"].versions == before.models["m"].versions
    assert changed.models["m"].config_fingerprint != before.models["m"].config_fingerprint
    (folder / "1" / "model.onnx").write_bytes(linear().SerializeToString())
    assert repository.scan().models["m"].versions != before.models["m"].versions


def test_a_version_without_its_ready_marker_waits(tmp_path: Path) -> None:
    folder = write_model(tmp_path)
    repository = Repository(tmp_path, ready_marker=".ready")
    assert repository.scan().models["m"].waiting == (1,)
    assert repository.versions("m") == ()
    (folder / "1" / ".ready").write_text("")
    assert repository.scan().models["m"].numbers == (1,)
    assert repository.versions("m") == (1,)


def test_the_policy_selects_versions(tmp_path: Path) -> None:
    for version in (1, 2, 3):
        folder = write_model(tmp_path, version=version)
    repository = Repository(tmp_path)
    assert repository.versions("m") == (3,)
    (folder / "config.yaml").write_text("version_policy: {latest: 2}")
    assert repository.versions("m") == (2, 3)
    assert repository.read_serving("m").version_policy == VersionPolicy(latest=2)
    override = Override('{"version_policy": {"specific": {"versions": [1, 9]}}}')
    assert repository.versions("m", override) == (1,)


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (VersionPolicy(), (7,)),
        (VersionPolicy(latest=2), (3, 7)),
        (VersionPolicy(latest=9), (1, 3, 7)),
        (VersionPolicy(latest=None), (1, 3, 7)),
        (VersionPolicy(latest=None, specific=(7, 1, 5)), (1, 7)),
    ],
)
def test_versions_are_selected_by_number(policy: VersionPolicy, expected: tuple[int, ...]) -> None:
    assert select(policy, [7, 1, 3]) == expected
    assert select(policy, []) == ()


def test_a_version_is_read_in_full(tmp_path: Path) -> None:
    write_model(tmp_path)
    source = Repository(tmp_path).read("m", 1)
    assert (source.name, source.version) == ("m", 1)
    assert source.model.data == MODEL_BYTES
    assert source.sha256 == {"model.onnx": sha256(MODEL_BYTES).hexdigest()}
    assert source.fingerprint == Repository(tmp_path).scan().models["m"].versions[0].fingerprint


@pytest.mark.parametrize(
    "name",
    [
        "none",
        "",
        "..",
        "../m",
        "/etc",
        "a/b",
        "a\\b",
        "%2e%2e",
        " ",
        ".",
        ".hidden",
        "m\0",
        "x" * 10_000,
        "ｍ",
    ],
)
def test_a_model_that_is_not_there_is_not_found(tmp_path: Path, name: str) -> None:
    write_model(tmp_path / "repository")
    repository = Repository(tmp_path / "repository")
    with pytest.raises(NotFound):
        repository.read(name, 1)
    with pytest.raises(NotFound):
        repository.versions(name)


@pytest.mark.parametrize("version", [0, -1, 2, 10**19])
def test_a_version_that_is_not_there_is_not_found(tmp_path: Path, version: int) -> None:
    write_model(tmp_path)
    (tmp_path / "m" / "-1").mkdir()
    with pytest.raises(NotFound):
        Repository(tmp_path).read("m", version)


def test_linked_folders_are_refused(tmp_path: Path) -> None:
    write_model(tmp_path / "outside")
    repository = tmp_path / "repository"
    write_model(repository, name="n")
    (repository / "m").symlink_to(tmp_path / "outside" / "m")
    (repository / "n" / "2").symlink_to(tmp_path / "outside" / "m" / "1")
    with pytest.raises(LoadError, match="m is a symbolic link"):
        Repository(repository).read("m", 1)
    with pytest.raises(LoadError, match="n/2 is a symbolic link"):
        Repository(repository).read("n", 2)
    assert Repository(repository).versions("n") == (1,)


def test_the_repository_itself_may_be_a_link(tmp_path: Path) -> None:
    write_model(tmp_path / "real")
    (tmp_path / "link").symlink_to("real")
    assert Repository(tmp_path / "link").versions("m") == (1,)


def test_a_version_that_changes_while_it_is_read_is_refused(tmp_path: Path, monkeypatch) -> None:
    folder = write_model(tmp_path)

    def read_and_change(*arguments):
        result = read_graph(*arguments)
        (folder / "1" / "weights.bin").write_bytes(b"")
        return result

    monkeypatch.setattr(repository_module, "read_graph", read_and_change)
    with pytest.raises(LoadError, match="m/1 changed while it was read"):
        Repository(tmp_path).read("m", 1)


def test_problems_of_configuration_and_graph_are_told_together(tmp_path: Path) -> None:
    write_model(tmp_path, b"broken", "backend: python")
    with pytest.raises(
        LoadError, match=r"(?s)m/config.yaml:1: backend.*m/1/model.onnx: is not an ONNX model"
    ):
        Repository(tmp_path).read("m", 1)


def test_messages_name_no_path_outside_the_repository(tmp_path: Path) -> None:
    write_model(tmp_path, b"", "label: x")
    with pytest.raises(HeadraceError) as caught:
        Repository(tmp_path).read("m", 1)
    assert str(tmp_path) not in str(caught.value)


def test_a_configuration_may_be_overridden(tmp_path: Path) -> None:
    write_model(tmp_path, config="max_batch_size: 4")
    override = Override(json.dumps({"max_batch_size": "2", "parameters": {"a": {"string_value": "b"}}}))
    source = Repository(tmp_path).read("m", 1, override)
    assert source.config.max_batch_size == 2
    assert source.config.parameters == {"a": "b"}


def test_a_wrong_override_is_told(tmp_path: Path) -> None:
    write_model(tmp_path)
    with pytest.raises(ConfigError, match="m/config of the load request: max_batch_siz: unknown field"):
        Repository(tmp_path).read("m", 1, Override('{"max_batch_siz": 2}'))


def test_files_may_come_with_the_load_call(tmp_path: Path) -> None:
    override = Override(
        '{"output": [{"name": "y", "label_filename": "labels.txt"}], "version_policy": {"all": {}}}',
        {"1/model.onnx": MODEL_BYTES, "7/model.onnx": MODEL_BYTES, "labels.txt": b"a\nb\nc"},
    )
    repository = Repository(tmp_path, ready_marker=".ready")
    assert repository.versions("new", override) == (1, 7)
    source = repository.read("new", 7, override)
    assert source.config.outputs[0].labels == ("a", "b", "c")
    assert source.sha256 == {"model.onnx": sha256(MODEL_BYTES).hexdigest()}
    with pytest.raises(NotFound):
        repository.read("new", 2, override)


def test_files_of_a_load_call_replace_those_on_disk(tmp_path: Path) -> None:
    write_model(tmp_path)
    with pytest.raises(NotFound):
        Repository(tmp_path).read("m", 1, Override("{}", {"2/model.onnx": MODEL_BYTES}))


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        (Override("", {"1/model.onnx": MODEL_BYTES}), "without a configuration"),
        (Override("{}", {"../1/model.onnx": MODEL_BYTES}), r"'\.\.'"),
        (Override("{}", {"/1/model.onnx": MODEL_BYTES}), "absolute"),
        (Override("{}", {"1/model.onnx": b""}), "not an ONNX model"),
        (Override("{}", {"1/other.onnx": MODEL_BYTES}), "it has other.onnx"),
    ],
)
def test_files_of_a_load_call_are_checked(tmp_path: Path, override: Override, reason: str) -> None:
    with pytest.raises(HeadraceError, match=reason):
        Repository(tmp_path).read("m", 1, override)


def test_no_descriptor_stays_open(tmp_path: Path) -> None:
    write_model(tmp_path, config="backend: python")
    write_model(tmp_path, name="fine")
    repository = Repository(tmp_path)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for name in ("m", "fine", "none"):
        try:
            repository.read(name, 1)
        except HeadraceError:
            continue
    repository.scan()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
