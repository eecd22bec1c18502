"""Work of the gateway that would hold the event loop up: in threads, bounded, and not for who has left."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias, TypeVar

from headrace.core.caller import Caller, Proof
from headrace.errors import Cancelled, Unavailable
from headrace.transport.failures import to_error
from headrace.transport.http.messages import Answer

T = TypeVar("T")

THREADS = 2
# Of these, a caller may have as many as are free: half where it is alone, so that there is always room for
# one who comes later.
MAX_WAITING = 128

_Key: TypeAlias = tuple[Proof, str]


class OffLoop:
    """Threads of its own: what loads and ends models never waits for a picture. Callers take turns."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(THREADS, thread_name_prefix="headrace http")
        # What has not begun, by caller; whose turn is next stands first.
        self._waiting: OrderedDict[_Key, deque[tuple[Answer, Callable[[], None]]]] = OrderedDict()
        self._waiting_count = 0
        self._working_count = 0

    def run(self, caller: Caller, answer: Answer, work: Callable[[], T], then: Callable[[T], None]) -> None:
        """Calls `then` on the loop with what `work` gives; `answer` is told of what goes wrong in either."""
        key = _key(caller)
        waiting = self._waiting.get(key, ())
        if len(waiting) >= MAX_WAITING - self._waiting_count:
            answer.fail(Unavailable(f"{len(waiting)} requests of yours wait to be read or written already"))
            return

        def work_if_wanted() -> T:
            if not answer.is_wanted:
                raise Cancelled("the caller left")
            return work()

        def go_on(done: "asyncio.Future[T]") -> None:
            self._working_count -= 1
            self._begin()
            try:
                then(done.result())
            except (Exception, asyncio.CancelledError) as error:
                answer.fail(to_error(_ours(error), "reading or writing a request"))

        def begin() -> None:
            working: Any = asyncio.get_running_loop().run_in_executor(self._executor, work_if_wanted)
            working.add_done_callback(go_on)

        self._waiting.setdefault(key, deque()).append((answer, begin))
        self._waiting_count += 1
        self._begin()

    def stop(self) -> None:
        """Waits for nothing; what has not begun is not begun."""
        self._executor.shutdown(wait=False, cancel_futures=True)
        while self._waiting:
            _, waiting = self._waiting.popitem()
            for answer, _ in waiting:
                answer.fail(_stopping())

    def _begin(self) -> None:
        """Begins what waits, one for each caller in turn, as long as a thread is free."""
        while self._waiting and self._working_count < THREADS:
            key, waiting = self._waiting.popitem(last=False)
            _, begin = waiting.popleft()
            if waiting:
                self._waiting[key] = waiting
            self._waiting_count -= 1
            self._working_count += 1
            begin()


def _key(caller: Caller) -> _Key:
    """What tells callers apart: of those who have not shown who they are, the address without its port."""
    if caller.proof is Proof.NONE:
        return caller.proof, caller.address.rpartition(":")[0] or caller.address
    return caller.proof, caller.name


def _ours(error: BaseException) -> Exception:
    return error if isinstance(error, Exception) else _stopping()


def _stopping() -> Unavailable:
    return Unavailable("the server is stopping")
