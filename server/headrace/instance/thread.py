"""One instance on a thread of its own: batches cross to it, and their results come back to the loop."""

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Protocol

from headrace.backend.base import Backend


class Work(Protocol):
    """What an instance is given: `execute` runs on the worker's thread, its outcome is handed to the loop."""

    def execute(self, backend: Backend) -> None: ...


Finished = Callable[["ThreadInstance", Work, BaseException | None], None]


class ThreadInstance:
    """A worker thread around one backend. ONNX Runtime gives up the GIL while it executes."""

    def __init__(
        self, name: str, backend: Backend, loop: asyncio.AbstractEventLoop, finished: Finished
    ) -> None:
        self.name = name
        self._backend = backend
        self._loop = loop
        self._finished = finished
        self._work: SimpleQueue[Work | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=f"worker {name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def execute(self, work: Work) -> None:
        """Hands `work` to the thread; `finished` is called on the loop when it is done."""
        self._work.put(work)

    def stop(self) -> None:
        """Ends the thread after the work it holds, and closes its backend."""
        self._work.put(None)

    def abandon(self) -> None:
        """Ends a thread that does not come back: interrupts what it executes, then stops it."""
        self._backend.interrupt()
        self.stop()

    def join(self, timeout_s: float) -> None:
        self._thread.join(timeout_s)

    def _run(self) -> None:
        try:
            while (work := self._work.get()) is not None:
                error = self._execute(work)
                self._tell(work, error)
                if error is not None and not isinstance(error, Exception):
                    return
                del work, error
        finally:
            self._backend.close()

    def _execute(self, work: Work) -> BaseException | None:
        try:
            work.execute(self._backend)
        except BaseException as error:
            return error
        return None

    def _tell(self, work: Work, error: BaseException | None) -> None:
        try:
            self._loop.call_soon_threadsafe(self._finished, self, work, error)
        except RuntimeError:
            return  # the loop has ended: nobody waits for this work any more
