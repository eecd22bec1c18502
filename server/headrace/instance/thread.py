"""An instance on a thread of its own: batches cross to it, and their results come back to the loop."""

import asyncio
import threading
from queue import SimpleQueue

from headrace.backend.base import Backend
from headrace.instance.work import Finished, Work, execute


class ThreadInstance:
    """A worker thread around one backend. ONNX Runtime gives up the GIL while it executes."""

    def __init__(
        self, name: str, backend: Backend, loop: asyncio.AbstractEventLoop, finished: Finished
    ) -> None:
        self.name = name
        self.backend = backend
        self._loop = loop
        self._finished = finished
        self._work: SimpleQueue[Work | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=f"worker {name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def execute(self, work: Work) -> None:
        """Hands `work` to the thread."""
        self._work.put(work)

    def stop(self) -> None:
        self._work.put(None)

    def join(self, timeout_s: float) -> None:
        self._thread.join(timeout_s)

    def _run(self) -> None:
        try:
            while (work := self._work.get()) is not None:
                error = execute(work, self.backend)
                self._tell(work, error)
                if error is not None and not isinstance(error, Exception):
                    return
                del work, error
        finally:
            self.backend.close()

    def _tell(self, work: Work, error: BaseException | None) -> None:
        try:
            self._loop.call_soon_threadsafe(self._finished, self, work, error)
        except RuntimeError:
            return  # the loop has ended: nobody waits for this work any more
