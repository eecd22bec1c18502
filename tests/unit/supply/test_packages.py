"""Wheel, sdist and SBOM as they are delivered: the same bytes each time, nothing missing, nothing else."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import cyclonedx.schema
import jsonschema_rs
import pytest

import write_sbom
from headrace.version import VERSION

ROOT = Path(__file__).resolve().parents[3]
WHEEL = f"headrace-{VERSION}-py3-none-any.whl"
SDIST = f"headrace-{VERSION}.tar.gz"
SBOM = f"headrace-{VERSION}.cdx.json"
SCHEMAS = "http://cyclonedx.org/schema"
DIST_INFO = f"headrace-{VERSION}.dist-info"


@dataclass(frozen=True, slots=True)
class Checkout:
    """A copy of the source somewhere, and how somebody builds there."""

    source: Path
    output: Path
    umask: int
    environment: Mapping[str, str]

    def build(self) -> "subprocess.CompletedProcess[str]":
        inherited = {name: value for name, value in os.environ.items() if name != "SOURCE_DATE_EPOCH"}
        return subprocess.run(
            [sys.executable, "scripts/build_wheel.py", "--any-tools", str(self.output)],
            cwd=self.source,
            env={**inherited, **self.environment},
            umask=self.umask,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def files(self, folder: str) -> set[str]:
        return set(_git(self.source, "ls-files", "--", folder).splitlines())


@pytest.fixture(scope="module")
def checkouts(tmp_path_factory: pytest.TempPathFactory) -> list[Checkout]:
    """Two copies of the same source, as unlike as they can be."""
    here, there = tmp_path_factory.mktemp("here"), tmp_path_factory.mktemp("there")
    one = Checkout(here / "headrace", here / "dist", 0o002, {"TZ": "UTC", "PYTHONHASHSEED": "1"})
    two = Checkout(
        there / "somewhere" / "much" / "deeper",
        there / "dist",
        0o077,
        {"TZ": "Asia/Tokyo", "PYTHONHASHSEED": "2", "LC_ALL": "C"},
    )
    _copy(ROOT, one.source, mode=0o664, time=1_700_000_000)
    _make_repository(one.source)
    _copy(one.source, two.source, mode=0o600, time=1_600_000_001)
    _make_repository(two.source)
    return [one, two]


@pytest.fixture(scope="module")
def built(checkouts: list[Checkout]) -> list[Path]:
    """The folders with what was built from each."""
    for checkout in checkouts:
        done = checkout.build()
        assert done.returncode == 0, done.stdout + done.stderr
    return [checkout.output for checkout in checkouts]


@pytest.mark.slow
@pytest.mark.parametrize("name", [WHEEL, SDIST], ids=["wheel", "sdist"])
def test_two_builds_give_the_same_bytes(built: list[Path], name: str) -> None:
    one, two = ((folder / name).read_bytes() for folder in built)

    assert one == two


@pytest.mark.slow
def test_wheel_has_the_package_and_nothing_else(built: list[Path], checkouts: list[Checkout]) -> None:
    package = {path.removeprefix("server/") for path in checkouts[0].files("server")}
    generated = _generated_from(checkouts[0].files("protos"))
    about = {"METADATA", "WHEEL", "RECORD", "entry_points.txt", "top_level.txt"}

    with ZipFile(built[0] / WHEEL) as wheel:
        names = wheel.namelist()

    assert len(names) == len(set(names))
    assert set(names) == package | generated | {f"{DIST_INFO}/{name}" for name in about}
    assert {
        "headrace/py.typed",
        "headrace/pb/inference/grpc_service_pb2.py",
        "headrace/transport/http/static/docs.css",
        "headrace/transport/http/static/docs.html",
        "headrace/transport/http/static/docs.js",
    } <= set(names)


@pytest.mark.slow
def test_wheel_tells_neither_when_nor_by_whom_it_was_built(built: list[Path]) -> None:
    with ZipFile(built[1] / WHEEL) as wheel:
        times = {entry.date_time for entry in wheel.infolist()}
        modes = {entry.external_attr >> 16 & 0o777 for entry in wheel.infolist()}

    assert len(times) == 1
    assert modes <= {0o644, 0o664}


@pytest.mark.slow
def test_sdist_has_what_a_build_needs_and_no_models(built: list[Path], checkouts: list[Checkout]) -> None:
    with tarfile.open(built[0] / SDIST) as sdist:
        members = sdist.getmembers()

    names = {each.name.partition("/")[2] for each in members if each.isfile()}
    assert checkouts[0].files("server") | checkouts[0].files("protos") <= names
    assert "scripts/build_protos.py" in names
    assert not [name for name in names if name.startswith(("tests/", "model_repository/"))]
    assert {(each.uid, each.gid, each.uname, each.gname) for each in members} == {(0, 0, "", "")}


@pytest.mark.slow
def test_installed_wheel_runs(built: list[Path], tmp_path: Path) -> None:
    python = _environment_with(built[0] / WHEEL, tmp_path / "venv")
    # What headrace needs comes from this environment; headrace itself does not, it is linked from there.
    environment = {**os.environ, "PYTHONPATH": sysconfig.get_path("platlib")}

    version = _printed(environment, tmp_path, str(python.parent / "headrace"), "version", "--json")
    where = _printed(environment, tmp_path, str(python), "-c", _WHERE)

    assert json.loads(version)["headrace"] == VERSION
    package, static = where.split()
    assert Path(package).is_relative_to(tmp_path / "venv")
    assert sorted(json.loads(static)) == ["docs.css", "docs.html", "docs.js"]


@pytest.mark.slow
def test_wheel_with_another_digest_than_the_locked_one_is_not_installed(
    built: list[Path], tmp_path: Path
) -> None:
    lock = tmp_path / "some.lock"
    lock.write_text(f"headrace=={VERSION} \\\n    --hash=sha256:{'0' * 64}\n")
    pip = [sys.executable, "-m", "pip", "--isolated", "--disable-pip-version-check", "install", "--no-deps"]
    words = ["--no-index", "--find-links", str(built[0]), "--target", str(tmp_path / "packages")]

    done = subprocess.run(
        [*pip, *words, "--require-hashes", "--only-binary", ":all:", "-r", str(lock)],
        capture_output=True,
        text=True,
    )

    assert done.returncode != 0
    assert "DO NOT MATCH THE HASHES" in done.stderr
    assert not (tmp_path / "packages").exists()


def test_file_that_git_does_not_track_stops_the_build(checkouts: list[Checkout]) -> None:
    stray = checkouts[0].source / "server" / "headrace" / "stray.py"
    stray.touch()
    try:
        done = checkouts[0].build()
    finally:
        stray.unlink()

    assert done.returncode == 1
    assert "would not be in the wheel: server/headrace/stray.py" in done.stderr


@pytest.mark.slow
def test_sbom_of_the_wheel_matches_it_and_is_valid(built: list[Path]) -> None:
    status = write_sbom.main([str(built[0])])

    sbom = json.loads((built[0] / SBOM).read_bytes())
    assert status == 0
    assert list(_validator().iter_errors(sbom)) == []
    assert {"grpcio", "numpy", "onnx", "onnxruntime"} <= {each["name"] for each in sbom["components"]}
    assert [each["name"] for each in sbom["components"] if not each.get("licenses")] == []


@pytest.mark.slow
def test_sbom_is_the_same_for_the_same_wheel(built: list[Path]) -> None:
    for folder in built:
        assert write_sbom.main([str(folder)]) == 0

    one, two = ((folder / SBOM).read_bytes() for folder in built)
    assert one == two


@pytest.mark.slow
def test_sbom_for_gpus_has_their_runtime(built: list[Path]) -> None:
    status = write_sbom.main([str(built[0]), "--extra", "gpu", "--python", "3.12"])

    sbom = json.loads((built[0] / f"headrace-{VERSION}-gpu-py3.12.cdx.json").read_bytes())
    names = {each["name"] for each in sbom["components"]}
    assert status == 0
    assert "onnxruntime-gpu" in names
    assert "onnxruntime" not in names


@pytest.mark.slow
def test_check_finds_an_sbom_that_was_changed(built: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    write_sbom.main([str(built[0])])
    path = built[0] / SBOM
    sbom = json.loads(path.read_bytes())
    sbom["components"] = [each for each in sbom["components"] if each["name"] != "onnx"]
    path.write_text(json.dumps(sbom))

    status = write_sbom.main([str(built[0]), "--check"])

    assert status == 1
    assert "the wheel requires onnx, which the SBOM lacks" in capsys.readouterr().err


def test_sbom_without_a_wheel_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status = write_sbom.main([str(tmp_path)])

    assert status == 1
    assert "`make wheel`" in capsys.readouterr().err


_WHERE = """
import importlib.resources, json
import headrace, headrace.pb.inference.grpc_service_pb2
static = importlib.resources.files("headrace.transport.http") / "static"
print(headrace.__file__)
print(json.dumps([each.name for each in static.iterdir()], separators=(",", ":")))
"""


def _copy(source: Path, target: Path, mode: int, time: int) -> None:
    """Whatever git would not ignore, with other modes and times."""
    listed = _git(source, "ls-files", "--cached", "--others", "--exclude-standard").splitlines()
    for name in dict.fromkeys(listed):
        if not (source / name).is_file():
            continue
        copied = target / name
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, copied)
        copied.chmod(mode)
        os.utime(copied, (time, time))


def _make_repository(folder: Path) -> None:
    _git(folder, "init", "--quiet")
    _git(folder, "add", "--all")


def _git(folder: Path, *words: str) -> str:
    command = ["git", "-C", str(folder), "-c", "core.quotePath=false", *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _generated_from(protos: set[str]) -> set[str]:
    """The files of headrace.pb that the build makes."""
    made = set()
    for path in (Path(name).relative_to("protos") for name in protos):
        if path.suffix == ".proto":
            stem = f"headrace/pb/{path.with_suffix('')}_pb2"
            made |= {f"{stem}.py", f"{stem}.pyi"}
            made |= {f"headrace/pb/{folder}/__init__.py" for folder in path.parents if folder.name}
    return made


def _environment_with(wheel: Path, folder: Path) -> Path:
    """The interpreter of a new virtual environment that has the wheel and nothing else."""
    python = folder / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    pip = [sys.executable, "-m", "pip", "--isolated", "--disable-pip-version-check", "--python", str(python)]
    subprocess.run([*pip, "install", "--quiet", "--no-deps", "--no-index", str(wheel)], check=True)
    return python


def _printed(environment: Mapping[str, str], folder: Path, *command: str) -> str:
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _validator() -> Any:
    """Of CycloneDX 1.6, by the schema files that CycloneDX's library has."""
    folder = Path(cyclonedx.schema.__file__).parent / "_res"
    schemas = {
        f"{SCHEMAS}/{path.name}": json.loads(path.read_bytes())
        for path in folder.glob("*.schema.json")
        if path.name.startswith(("spdx.", "jsf-"))
    }
    schema = json.loads((folder / "bom-1.6.SNAPSHOT.schema.json").read_bytes())
    registry = jsonschema_rs.Registry(list(schemas.items()))
    return jsonschema_rs.Draft7Validator(schema, registry=registry, validate_formats=True)
