"""What an instance is given, and what a group of instances asks of one."""

from collections.abc import Callable
from typing import Protocol

from headrace.backend.base import Backend


class Work(Protocol):
    """Runs on the instance's backend, wherever that instance executes."""

    def execute(self, backend: Backend) -> None: ...


class Instance(Protocol):
    """Executes one work at a time and tells its `Finished` of it, on the event loop."""

    @property
    def name(self) -> str: ...

    @property
    def backend(self) -> Backend: ...

    def start(self) -> None: ...

    def execute(self, work: Work) -> None:
        """Runs `work`; returns before it is finished."""
        ...

    def stop(self) -> None:
        """Ends the instance after the work it holds, and closes its backend."""
        ...

    def join(self, timeout_s: float) -> None:
        """Blocks until the instance has ended, for `timeout_s` seconds at most."""
        ...


Finished = Callable[[Instance, Work, BaseException | None], None]


def execute(work: Work, backend: Backend) -> BaseException | None:
    """Runs `work`; what it raised, if anything, so that no exception ends whoever runs it."""
    try:
        work.execute(backend)
    except BaseException as error:
        return error
    return None
