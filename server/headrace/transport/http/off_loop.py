"""Work of the gateway that would hold the event loop up: in threads, bounded, and not for who has left."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from headrace.errors import Cancelled, Unavailable
from headrace.transport.failures import to_error
from headrace.transport.http.messages import Answer

T = TypeVar("T")

THREADS = 2
MAX_WAITING = 64


class OffLoop:
    """Threads of its own, so that what loads and ends models never waits for a picture."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(THREADS, thread_name_prefix="headrace http")
        self._waiting = 0

    def run(self, answer: Answer, work: Callable[[], T], then: Callable[[T], None]) -> None:
        """Calls `then` on the loop with what `work` gives; `answer` is told of what goes wrong in either."""
        if self._waiting >= MAX_WAITING:
            answer.fail(Unavailable(f"{MAX_WAITING} requests wait to be read or written already"))
            return

        def work_if_wanted() -> T:
            if not answer.is_wanted:
                raise Cancelled("the caller left")
            return work()

        def go_on(done: "asyncio.Future[T]") -> None:
            self._waiting -= 1
            try:
                then(done.result())
            except (Exception, asyncio.CancelledError) as error:
                answer.fail(to_error(_ours(error), "reading or writing a request"))

        self._waiting += 1
        working: Any = asyncio.get_running_loop().run_in_executor(self._executor, work_if_wanted)
        working.add_done_callback(go_on)

    def stop(self) -> None:
        """Waits for nothing; what has not begun is not begun."""
        self._executor.shutdown(wait=False, cancel_futures=True)


def _ours(error: BaseException) -> Exception:
    return error if isinstance(error, Exception) else Unavailable("the server is stopping")
