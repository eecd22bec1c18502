"""Where a wheel is installed: with which extra, on which Python."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Target:
    """A CPython on Linux."""

    extra: str = "cpu"
    python: str = "3.11"

    @property
    def environment(self) -> dict[str, str]:
        """What environment markers are evaluated with (PEP 508), the same on every machine."""
        return {
            "extra": self.extra,
            "implementation_name": "cpython",
            "os_name": "posix",
            "platform_machine": "x86_64",
            "platform_python_implementation": "CPython",
            "platform_system": "Linux",
            "python_full_version": f"{self.python}.0",
            "python_version": self.python,
            "sys_platform": "linux",
        }
