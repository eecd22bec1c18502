"""The list of what a wheel is installed with (SBOM), as CycloneDX 1.6 in JSON."""

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from uuid import NAMESPACE_URL, uuid5

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, Property, XsUri
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import License, LicenseAcknowledgement
from cyclonedx.model.tool import ToolRepository
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from packaging.utils import canonicalize_name

from supply.lock import Pin
from supply.target import Target
from supply.wheel import Wheel

GENERATOR = "cyclonedx-python-lib"


def document(
    wheel: Wheel,
    pins: Sequence[Pin],
    target: Target,
    created: datetime,
    licences: Callable[[Pin], Sequence[str]],
) -> str:
    """The SBOM of `wheel`, installed on `target` with those of `pins` that apply there.

    The same arguments give the same text. A package's hashes are those of all files that the lock allows.
    """
    main = _main_component(wheel)
    components = {pin.name: _component(pin, licences(pin)) for pin in pins if pin.applies(target.environment)}
    bom = Bom(
        serial_number=uuid5(NAMESPACE_URL, f"{main.purl}#{wheel.sha256}-{target.extra}-{target.python}"),
        metadata=_metadata(main, target, created),
        components=components.values(),
    )
    _register_dependencies(bom, main, components, wheel, pins, target)
    return JsonV1Dot6(bom).output_as_string(indent=2) + "\n"


def _metadata(main: Component, target: Target, created: datetime) -> BomMetaData:
    generator = Component(type=ComponentType.LIBRARY, name=GENERATOR, version=version(GENERATOR))
    return BomMetaData(
        component=main,
        timestamp=created.astimezone(UTC),
        tools=ToolRepository(components=[generator]),
        properties=[
            Property(name="headrace:extra", value=target.extra),
            Property(name="headrace:python", value=target.python),
        ],
    )


def _main_component(wheel: Wheel) -> Component:
    digest = _sha256([wheel.sha256])
    file = ExternalReference(type=ExternalReferenceType.DISTRIBUTION, url=XsUri(wheel.file), hashes=digest)
    return Component(
        type=ComponentType.APPLICATION,
        name=wheel.name,
        version=wheel.version,
        description=wheel.summary,
        purl=_purl(wheel.name, wheel.version),
        bom_ref=str(_purl(wheel.name, wheel.version)),
        hashes=digest,
        external_references=[file],
    )


def _component(pin: Pin, licences: Iterable[str]) -> Component:
    purl = _purl(pin.name, pin.version)
    files = ExternalReference(
        type=ExternalReferenceType.DISTRIBUTION,
        url=XsUri(str(purl)),
        hashes=_sha256(pin.sha256),
        comment="each file of this version that may be installed",
    )
    return Component(
        type=ComponentType.LIBRARY,
        name=pin.name,
        version=pin.version,
        purl=purl,
        bom_ref=str(purl),
        licenses=[_licence(each) for each in licences],
        external_references=[files],
    )


def _register_dependencies(
    bom: Bom,
    main: Component,
    components: dict[str, Component],
    wheel: Wheel,
    pins: Sequence[Pin],
    target: Target,
) -> None:
    direct = {canonicalize_name(each.name) for each in wheel.needs(target)}
    bom.register_dependency(main, [components[name] for name in sorted(direct & components.keys())])
    for name, component in components.items():
        wanted = {pin.name for pin in pins if name in pin.wanted_by}
        bom.register_dependency(component, [components[each] for each in sorted(wanted & components.keys())])


def _purl(name: str, version: str) -> PackageURL:
    return PackageURL("pypi", name=name, version=version)


def _sha256(digests: Iterable[str]) -> list[HashType]:
    return [HashType(alg=HashAlgorithm.SHA_256, content=each) for each in digests]


def _licence(text: str) -> License:
    return LicenseFactory().make_from_string(text, license_acknowledgement=LicenseAcknowledgement.DECLARED)
