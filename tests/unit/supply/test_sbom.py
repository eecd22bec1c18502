"""The SBOM: what it holds, and that whatever does not match wheel or lock is found."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement

from supply import differences, licences, sbom
from supply.lock import Pin
from supply.target import Target
from supply.wheel import Wheel

Document = dict[str, Any]
Change = Callable[[Document], None]

CREATED = datetime(2026, 12, 24, tzinfo=UTC)
WHEEL = Wheel(
    file="headrace-1.0-py3-none-any.whl",
    name="headrace",
    version="1.0",
    summary="A server.",
    sha256="a" * 64,
    requirements=(
        Requirement("numpy>=1.26"),
        Requirement("PyJWT[crypto]>=2.12"),
        Requirement("pywin32; sys_platform == 'win32'"),
        Requirement("onnxruntime>=1.21; extra == 'cpu'"),
        Requirement("pytest; extra == 'dev'"),
    ),
)


def pin(name: str, version: str, *wanted_by: str, marker: str | None = None) -> Pin:
    return Pin(name, version, Marker(marker) if marker else None, ("1" * 64, "2" * 64), wanted_by)


PINS = [
    pin("cryptography", "50.0", "pyjwt"),
    pin("numpy", "2.4.6", "onnxruntime", marker="python_full_version < '3.12'"),
    pin("numpy", "2.5.5", "onnxruntime", marker="python_full_version >= '3.12'"),
    pin("onnxruntime", "1.31.1"),
    pin("pyjwt", "2.15.1"),
    pin("pywin32", "312", marker="sys_platform == 'win32'"),
]


def document(target: Target | None = None) -> Document:
    text = sbom.document(WHEEL, PINS, target or Target(), CREATED, lambda pin: ["MIT", "Some licence"])
    read: Document = json.loads(text)
    return read


def component(of: Document, name: str) -> Document:
    [found] = [each for each in of["components"] if each["name"] == name]
    return dict(found)


def versions(of: Document) -> dict[str, str]:
    return {each["name"]: each["version"] for each in of["components"]}


def dependencies(of: Document) -> dict[str, list[str]]:
    return {each["ref"]: each.get("dependsOn", []) for each in of["dependencies"]}


def test_headrace_is_the_main_component_with_the_digest_of_its_wheel() -> None:
    main = document()["metadata"]["component"]

    assert (main["name"], main["version"], main["type"]) == ("headrace", "1.0", "application")
    assert main["hashes"] == [{"alg": "SHA-256", "content": "a" * 64}]
    assert main["externalReferences"][0]["url"] == "headrace-1.0-py3-none-any.whl"


def test_components_have_version_hashes_and_licences() -> None:
    found = component(document(), "onnxruntime")

    assert (found["version"], found["purl"]) == ("1.31.1", "pkg:pypi/onnxruntime@1.31.1")
    assert [each["content"] for each in found["externalReferences"][0]["hashes"]] == ["1" * 64, "2" * 64]
    assert {each["license"].get("id") or each["license"]["name"] for each in found["licenses"]} == {
        "MIT",
        "Some licence",
    }


def test_components_are_those_that_are_installed_on_the_target() -> None:
    expected = {"cryptography": "50.0", "numpy": "2.4.6", "onnxruntime": "1.31.1", "pyjwt": "2.15.1"}

    assert versions(document()) == expected
    assert versions(document(Target(python="3.12"))) == {**expected, "numpy": "2.5.5"}


def test_dependencies_are_those_of_the_wheel_and_the_lock() -> None:
    found = dependencies(document())

    assert found["pkg:pypi/headrace@1.0"] == [
        "pkg:pypi/numpy@2.4.6",
        "pkg:pypi/onnxruntime@1.31.1",
        "pkg:pypi/pyjwt@2.15.1",
    ]
    assert found["pkg:pypi/onnxruntime@1.31.1"] == ["pkg:pypi/numpy@2.4.6"]
    assert found["pkg:pypi/pyjwt@2.15.1"] == ["pkg:pypi/cryptography@50.0"]
    assert found["pkg:pypi/numpy@2.4.6"] == []


def test_same_input_gives_the_same_document() -> None:
    assert document() == document()
    assert document()["metadata"]["timestamp"] == "2026-12-24T00:00:00+00:00"
    assert document()["serialNumber"] != document(Target(python="3.12"))["serialNumber"]


@pytest.mark.parametrize("python", ["3.11", "3.12"])
def test_nothing_differs_in_what_was_just_written(python: str) -> None:
    target = Target(python=python)

    assert differences.find(document(target), WHEEL, PINS, target) == []


def without(name: str) -> Change:
    def change(of: Document) -> None:
        of["components"] = [each for each in of["components"] if each["name"] != name]

    return change


def with_version(name: str, version: str) -> Change:
    def change(of: Document) -> None:
        for each in of["components"]:
            if each["name"] == name:
                each["version"] = version

    return change


def with_one_hash_less(of: Document) -> None:
    of["components"][0]["externalReferences"][0]["hashes"].pop()


def with_a_stranger(of: Document) -> None:
    of["components"].append({"name": "stranger", "version": "1", "bom-ref": "stranger"})


def with_one_twice(of: Document) -> None:
    of["components"].append(of["components"][0])


def of_another_wheel(of: Document) -> None:
    of["metadata"]["component"]["hashes"][0]["content"] = "b" * 64


def of_another_version(of: Document) -> None:
    of["metadata"]["component"]["version"] = "1.1"


def with_another_dependency(of: Document) -> None:
    [main] = [each for each in of["dependencies"] if each["ref"] == "pkg:pypi/headrace@1.0"]
    main["dependsOn"].append("pkg:pypi/cryptography@50.0")


def without_dependencies(of: Document) -> None:
    del of["dependencies"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        pytest.param(
            without("onnxruntime"),
            "the wheel requires onnxruntime, which the SBOM lacks",
            id="requirement gone",
        ),
        pytest.param(
            without("cryptography"), "the lock pins cryptography 50.0, which the SBOM lacks", id="pin gone"
        ),
        pytest.param(
            with_version("numpy", "1.25"), "the wheel requires numpy>=1.26; the SBOM has 1.25", id="too old"
        ),
        pytest.param(
            with_version("numpy", "2.4.7"),
            "the lock pins numpy 2.4.6; the SBOM has 2.4.7",
            id="not as locked",
        ),
        pytest.param(
            with_one_hash_less,
            "the lock allows other files of cryptography 50.0 than the SBOM has",
            id="other files",
        ),
        pytest.param(with_a_stranger, "the SBOM has stranger, which the lock lacks", id="stranger"),
        pytest.param(with_one_twice, "the SBOM has cryptography 2 times", id="twice"),
        pytest.param(
            of_another_wheel, f"the wheel's sha256 is {'a' * 64}; the SBOM has {'b' * 64}", id="other wheel"
        ),
        pytest.param(of_another_version, "the wheel's version is 1.0; the SBOM has 1.1", id="other version"),
        pytest.param(
            with_another_dependency,
            "the wheel does not require just what the SBOM says it depends on: "
            "cryptography, numpy, onnxruntime, pyjwt",
            id="other dependency",
        ),
        pytest.param(
            without_dependencies,
            "the wheel does not require just what the SBOM says it depends on: none",
            id="no dependencies",
        ),
    ],
)
def test_what_does_not_match_is_named(change: Change, sentence: str) -> None:
    changed = document()
    change(changed)

    assert sentence in differences.find(changed, WHEEL, PINS, Target())


def test_lock_without_a_requirement_of_the_wheel_is_found() -> None:
    pins = [each for each in PINS if each.name != "onnxruntime"]
    text = sbom.document(WHEEL, pins, Target(), CREATED, lambda pin: [])

    assert differences.find(json.loads(text), WHEEL, pins, Target()) == [
        "the wheel requires onnxruntime, which the SBOM lacks"
    ]


def test_licences_are_told_of_the_installed_version_only() -> None:
    installed = licences.metadata.version("pytest")

    assert licences.declared(pin("pytest", installed)) == ["MIT"]
    assert licences.declared(pin("pytest", "1.0")) == []
    assert licences.declared(pin("not-there-at-all", "1.0")) == []
