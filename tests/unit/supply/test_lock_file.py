"""Lock files: what is read from them, what they may not hold, and that the committed ones are complete."""

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from supply import lock
from supply.target import Target

ROOT = Path(__file__).resolve().parents[3]
LOCKS = ("build", "cpu", "dev", "gpu")
ONE, TWO = "1" * 64, "2" * 64


def written(folder: Path, text: str) -> Path:
    path = folder / "some.lock"
    path.write_text(text, encoding="utf-8")
    return path


def test_pins_have_version_marker_hashes_and_who_wants_them(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        f"""\
Some.Package==1.2 ; sys_platform == 'win32' \\
    --hash=sha256:{ONE} \\
    --hash=sha256:{TWO}
    # via
    #   -c requirements/dev.lock
    #   headrace (pyproject.toml)
    #   other-one
other-one==2.0rc1 \\
    --hash=sha256:{ONE}
    # via headrace (pyproject.toml)
""",
    )

    first, second = lock.read(path)

    assert (first.name, first.version, first.sha256) == ("some-package", "1.2", (ONE, TWO))
    assert first.wanted_by == ("other-one",)
    assert not first.applies(Target().environment)
    assert (second.name, second.version, second.wanted_by) == ("other-one", "2.0rc1", ())
    assert second.applies(Target().environment)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("one==1.0\n    # via two\n", "without a hash: 'one==1.0'"),
        (f"one>=1.0 \\\n    --hash=sha256:{ONE}\n", "not pinned to one version: 'one>=1.0'"),
        (f"one==1.* \\\n    --hash=sha256:{ONE}\n", "not pinned to one version: 'one==1.*'"),
        (f"one @ file:///one.whl \\\n    --hash=sha256:{ONE}\n", "not pinned to one version"),
        (f"one==1.0 two \\\n    --hash=sha256:{ONE}\n", "not a pin"),
        ("--index-url file:///packages\n", "some.lock:1: neither a pin nor a hash: '--index-url"),
        (f"one==1.0 \\\n    --hash=md5:{ONE}\n", "some.lock:2: neither a pin nor a hash"),
        ("\n", "pins nothing"),
    ],
    ids=[
        "no hash",
        "a range",
        "any of a series",
        "an address",
        "two words",
        "an index",
        "another hash",
        "nothing",
    ],
)
def test_lock_that_leaves_something_open_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(lock.LockError) as raised:
        lock.read(written(tmp_path, text))

    assert message in str(raised.value)


@pytest.mark.parametrize("name", LOCKS)
def test_committed_locks_hold_pins_with_hashes_and_nothing_else(name: str) -> None:
    pins = lock.read(ROOT / "requirements" / f"{name}.lock")

    installed = [pin.name for pin in pins if pin.applies(Target().environment)]
    assert installed
    assert len(installed) == len(set(installed))


def test_tests_run_with_the_versions_that_are_delivered() -> None:
    delivered = {(pin.name, pin.version) for pin in lock.read(ROOT / "requirements" / "cpu.lock")}
    tested = {(pin.name, pin.version) for pin in lock.read(ROOT / "requirements" / "dev.lock")}

    assert delivered <= tested


def test_build_lock_has_the_tools_that_the_project_names() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    locked = {pin.name: pin.version for pin in lock.read(ROOT / "requirements" / "build.lock")}

    for tool in map(Requirement, project["build-system"]["requires"]):
        assert tool.specifier.contains(locked[canonicalize_name(tool.name)]), tool
