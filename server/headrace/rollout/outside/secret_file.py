"""A secret in a file, which may be replaced while the server runs."""

from pathlib import Path

from headrace.errors import ConfigError

MAX_BYTES = 65_536


class SecretFile:
    """`setting` is the one that names the file, for people."""

    def __init__(self, path: Path, setting: str, min_bytes: int = 1) -> None:
        self._path = path
        self._setting = setting
        self._min_bytes = min_bytes

    def read(self) -> bytes:
        """What the file holds now, without space around it; blocks. ConfigError where it does not do."""
        try:
            with self._path.open("rb") as file:
                content = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise self._refusal(f"cannot be read: {error.strerror}") from None
        secret = content.strip()
        if len(content) > MAX_BYTES:
            raise self._refusal(f"has more than {MAX_BYTES} bytes")
        if len(secret) < self._min_bytes:
            raise self._refusal(f"has {len(secret)} bytes: expected at least {self._min_bytes}")
        return secret

    def _refusal(self, problem: str) -> ConfigError:
        return ConfigError(f"{self._setting}: {self._path} {problem}")
