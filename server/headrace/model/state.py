"""Where a model's version is in its life."""

from enum import Enum


class ModelState(Enum):
    """The states of a version, in Triton's words; the value is what goes on the wire."""

    UNKNOWN = "UNKNOWN"
    LOADING = "LOADING"
    READY = "READY"
    UNLOADING = "UNLOADING"
    UNAVAILABLE = "UNAVAILABLE"
