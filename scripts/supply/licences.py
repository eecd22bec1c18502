"""The licences of packages, as those that are installed here declare them."""

from importlib import metadata

from supply.lock import Pin

LONGEST_NAME = 100


def declared(pin: Pin) -> list[str]:
    """SPDX expression or names of the licences; none where this very version is not installed."""
    try:
        fields = metadata.metadata(pin.name)
    except metadata.PackageNotFoundError:
        return []
    if fields["Version"] != pin.version:
        return []
    if "License-Expression" in fields:
        return [fields["License-Expression"]]
    # Some put the whole text there.
    if "License" in fields and len(fields["License"]) <= LONGEST_NAME:
        return [fields["License"]]
    classifiers = [each.split(" :: ") for each in fields.get_all("Classifier", [])]
    return [parts[-1] for parts in classifiers if parts[0] == "License"]
