"""Whether an SBOM, a wheel and a lock file tell the same."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from packaging.utils import canonicalize_name

from supply.lock import Pin
from supply.target import Target
from supply.wheel import Wheel

Component = Mapping[str, Any]


def find(sbom: Mapping[str, Any], wheel: Wheel, pins: Sequence[Pin], target: Target) -> list[str]:
    """What `sbom` (CycloneDX, read from JSON) says otherwise than the others, a sentence each."""
    return [
        *_of_the_wheel(sbom, wheel),
        *_of_its_requirements(sbom, wheel, target),
        *_of_the_lock(sbom, pins, target),
    ]


def _of_the_wheel(sbom: Mapping[str, Any], wheel: Wheel) -> Iterator[str]:
    main = sbom["metadata"]["component"]
    for field, said, fact in (
        ("name", main["name"], wheel.name),
        ("version", main["version"], wheel.version),
        ("sha256", _sha256([main]), {wheel.sha256}),
    ):
        if said != fact:
            yield f"the wheel's {field} is {_text(fact)}; the SBOM has {_text(said)}"


def _of_its_requirements(sbom: Mapping[str, Any], wheel: Wheel, target: Target) -> Iterator[str]:
    versions = {each["name"]: each["version"] for each in sbom["components"]}
    needs = wheel.needs(target)
    for need in needs:
        version = versions.get(canonicalize_name(need.name))
        if version is None:
            yield f"the wheel requires {need.name}, which the SBOM lacks"
        elif not need.specifier.contains(version, prereleases=True):
            yield f"the wheel requires {need.name}{need.specifier}; the SBOM has {version}"
    said = _direct_dependencies(sbom)
    if said != {canonicalize_name(need.name) for need in needs} & versions.keys():
        yield f"the wheel does not require just what the SBOM says it depends on: {_text(said)}"


def _of_the_lock(sbom: Mapping[str, Any], pins: Sequence[Pin], target: Target) -> Iterator[str]:
    locked = {pin.name: pin for pin in pins if pin.applies(target.environment)}
    components = {each["name"]: each for each in sbom["components"]}
    counted = Counter(each["name"] for each in sbom["components"])
    yield from (f"the SBOM has {name} {count} times" for name, count in counted.items() if count > 1)
    yield from (f"the SBOM has {name}, which the lock lacks" for name in components.keys() - locked.keys())
    for name, pin in locked.items():
        if name not in components:
            yield f"the lock pins {name} {pin.version}, which the SBOM lacks"
        elif components[name]["version"] != pin.version:
            yield f"the lock pins {name} {pin.version}; the SBOM has {components[name]['version']}"
        elif _sha256(components[name].get("externalReferences", [])) != set(pin.sha256):
            yield f"the lock allows other files of {name} {pin.version} than the SBOM has"


def _direct_dependencies(sbom: Mapping[str, Any]) -> set[str]:
    names = {each["bom-ref"]: each["name"] for each in sbom["components"]}
    main = sbom["metadata"]["component"]["bom-ref"]
    references = [each.get("dependsOn", []) for each in sbom.get("dependencies", []) if each["ref"] == main]
    return {names.get(reference, reference) for listed in references for reference in listed}


def _sha256(holders: Sequence[Component]) -> set[str]:
    hashes = [each for holder in holders for each in holder.get("hashes", [])]
    return {each["content"] for each in hashes if each["alg"] == "SHA-256"}


def _text(value: str | set[str]) -> str:
    return value if isinstance(value, str) else ", ".join(sorted(value)) or "none"
