"""What a load call brings along in place of what is on disk."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Override:
    """`config` as JSON text in place of the configuration file, `files` in place of the model's folder.

    These are Triton's load parameters `config` and `file:<version>/<file name>`. With `files` (contents by
    their path in the model's folder) nothing of the model is read from disk, and `config` must be given.
    """

    config: str = ""
    files: Mapping[str, bytes] = field(default_factory=dict)
