"""A group of instances: handed out, watched, replaced when lost, ended when told to."""

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest

from headrace.errors import ExecutionFailed, WorkerLost
from headrace.instance import group as instance_group
from headrace.instance.group import InstanceGroup, Slot
from support.loops import run, until
from support.scheduling import Doubler


@dataclass
class Work:
    """Something to execute: waits for `gate`, then raises `error` if there is one."""

    error: BaseException | None = None
    gate: threading.Event = field(default_factory=threading.Event)
    started: threading.Event = field(default_factory=threading.Event)
    thread: str = ""

    def execute(self, backend):
        self.thread = threading.current_thread().name
        self.started.set()
        assert self.gate.wait(10)
        if self.error is not None:
            raise self.error


def ready(error: BaseException | None = None) -> Work:
    work = Work(error)
    work.gate.set()
    return work


class Group:
    """A group with remembered answers, restarts that the test makes fail, and nothing left over."""

    def __init__(self, count: int = 1, *, timeout_s: float = 0.0, failing_restarts: int = 0, **slot: object):
        self.answers: list[tuple[Work, BaseException | None]] = []
        self.made: list[Doubler] = []
        self.available_count = 0
        self.alive_changes: list[int] = []
        self._failing_restarts = failing_restarts
        self._executor = ThreadPoolExecutor(1)
        slots = [Slot(f"m_{index}", "cpu", 1, self._make, **slot) for index in range(count)]
        loop = asyncio.get_running_loop()
        self.group = InstanceGroup(slots, self._executor, timeout_s, loop)
        self.group.available = self._available
        self.group.alive_changed = lambda: self.alive_changes.append(self.group.alive_count)
        self.backends = [Doubler() for _ in slots]
        self.group.start(list(self.backends))

    def _make(self) -> Doubler:
        if self._failing_restarts:
            self._failing_restarts -= 1
            raise RuntimeError("no memory for a session")
        self.made.append(Doubler())
        return self.made[-1]

    def _available(self) -> None:
        self.available_count += 1

    def execute(self, work: Work) -> Work:
        self.group.execute(self.group.acquire(), work, lambda *answer: self.answers.append(answer))
        return work

    async def answered(self, count: int) -> None:
        await until(lambda: len(self.answers) == count)

    async def stop(self) -> None:
        await self.group.stop()
        self._executor.shutdown()


@pytest.fixture(autouse=True)
def prompt_restarts(monkeypatch):
    monkeypatch.setattr(instance_group, "RESTART_DELAYS_S", (0.0, 0.02, 0.05))


@pytest.mark.parametrize("is_inline", [False, True])
def test_work_is_answered_once_and_its_instance_is_idle_again(is_inline):
    async def main():
        rig = Group(is_inline=is_inline)
        work = rig.execute(ready())
        assert not rig.answers, "the answer comes on a later turn of the loop"
        await rig.answered(1)
        assert rig.answers == [(work, None)]
        assert rig.group.has_idle
        assert rig.available_count == 1
        assert (work.thread == threading.current_thread().name) == is_inline
        await rig.stop()

    run(main())


def test_instances_execute_side_by_side_and_the_last_one_used_goes_first():
    async def main():
        rig = Group(3)
        works = [rig.execute(Work()) for _ in range(3)]
        assert not rig.group.has_idle
        for work in works:
            assert await asyncio.to_thread(work.started.wait, 5)
        assert len({work.thread for work in works}) == 3
        works[1].gate.set()
        await rig.answered(1)
        again = rig.execute(ready())
        await rig.answered(2)
        assert again.thread == works[1].thread
        for work in works:
            work.gate.set()
        await rig.answered(4)
        await rig.stop()

    run(main())


@pytest.mark.parametrize("is_inline", [False, True])
@pytest.mark.parametrize(
    "error", [ExecutionFailed("bad index"), MemoryError(), RecursionError(), ValueError("x")], ids=repr
)
def test_an_exception_is_the_works_own_and_the_instance_stays(error, is_inline):
    """W01, W04, W05."""

    async def main():
        rig = Group(is_inline=is_inline)
        rig.execute(ready(error))
        await rig.answered(1)
        assert rig.answers[0][1] is error
        assert rig.group.alive_count == 1
        assert rig.group.restart_count == 0
        rig.execute(ready())
        await rig.answered(2)
        assert rig.answers[1][1] is None
        await rig.stop()
        assert rig.backends[0].is_closed

    run(main())


@pytest.mark.parametrize("is_inline", [False, True])
@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()], ids=repr)
def test_what_would_end_a_thread_loses_the_instance_and_it_is_replaced(error, is_inline):
    """W05."""

    async def main():
        rig = Group(is_inline=is_inline)
        rig.execute(ready(error))
        await rig.answered(1)
        assert isinstance(rig.answers[0][1], WorkerLost)
        assert "m_0" in str(rig.answers[0][1])
        await until(lambda: rig.group.restart_count == 1)
        assert rig.alive_changes == [0, 1]
        rig.execute(ready())
        await rig.answered(2)
        assert rig.answers[1][1] is None
        await rig.stop()
        assert rig.made[0].is_closed

    run(main())


def test_an_execution_that_hangs_is_interrupted_answered_and_replaced():
    """W03."""

    async def main():
        rig = Group(timeout_s=0.05)
        stuck = rig.execute(Work())
        await rig.answered(1)
        assert isinstance(rig.answers[0][1], WorkerLost)
        assert "within 0.05 s" in str(rig.answers[0][1])
        assert rig.backends[0].was_interrupted.is_set()
        await until(lambda: rig.group.has_idle)
        rig.execute(ready())
        await rig.answered(2)
        stuck.gate.set()
        await until(lambda: rig.backends[0].is_closed)
        assert len(rig.answers) == 2, "what was given up is not answered twice"
        assert rig.group.alive_count == 1
        await rig.stop()

    run(main())


def test_a_loss_of_one_instance_leaves_the_others_alone():
    async def main():
        rig = Group(2, timeout_s=0.2)
        stuck = rig.execute(Work())
        for _ in range(5):
            rig.execute(ready())
            await rig.answered(len(rig.answers) + 1)
        assert all(error is None for _, error in rig.answers)
        await rig.answered(6)
        assert rig.answers[-1][0] is stuck
        stuck.gate.set()
        await until(lambda: rig.group.alive_count == 2)
        await rig.stop()

    run(main())


def test_losses_in_a_row_wait_longer_each_time_and_a_success_forgives_them(caplog):
    """W02."""

    async def main():
        rig = Group()
        for error in (*[SystemExit()] * 4, None, SystemExit()):
            rig.execute(ready(error))
            await rig.answered(len(rig.answers) + 1)
            await until(lambda: rig.group.has_idle)
        await rig.stop()

    run(main())
    delays = [record.args[1] for record in caplog.records]
    assert delays == [0.0, 0.02, 0.05, 0.05, 0.0]


def test_a_restart_that_fails_is_tried_again():
    async def main():
        rig = Group(failing_restarts=2)
        rig.execute(ready(SystemExit()))
        await until(lambda: rig.group.has_idle)
        assert rig.group.restart_count == 1
        assert len(rig.made) == 1
        await rig.stop()

    run(main())


def test_stopping_lets_what_executes_finish_and_closes_every_backend():
    async def main():
        rig = Group(2)
        work = rig.execute(Work())
        stopping = asyncio.create_task(rig.stop())
        await asyncio.sleep(0.02)
        assert not stopping.done()
        work.gate.set()
        await stopping
        await rig.answered(1)
        assert rig.answers[0][1] is None
        assert all(backend.is_closed for backend in rig.backends)
        assert not rig.group.has_idle

    run(main())


def test_stopping_while_a_replacement_is_due_starts_none(monkeypatch):
    monkeypatch.setattr(instance_group, "RESTART_DELAYS_S", (30.0,))

    async def main():
        rig = Group()
        rig.execute(ready(SystemExit()))
        await rig.answered(1)
        await rig.stop()
        await asyncio.sleep(0)
        assert rig.made == []
        assert rig.group.alive_count == 0

    run(main())


def test_aborting_interrupts_what_executes_and_does_not_wait_for_it(monkeypatch):
    """L11."""
    monkeypatch.setattr(instance_group, "ABORT_TIMEOUT_S", 0.1)

    async def main():
        rig = Group()
        stuck = rig.execute(Work())
        started = time.monotonic()
        await rig.group.abort()
        assert time.monotonic() - started < 2
        assert rig.backends[0].was_interrupted.is_set()
        stuck.gate.set()
        await until(lambda: rig.backends[0].is_closed)
        await rig.stop()

    run(main())


def test_an_inline_instance_that_turns_out_slow_moves_to_a_thread_and_goes_on(monkeypatch):
    monkeypatch.setattr(instance_group, "SLOW_INLINE_NS", 1_000_000)

    class Slow(Work):
        def execute(self, backend):
            self.thread = threading.current_thread().name
            end_ns = time.thread_time_ns() + 20_000_000
            while time.thread_time_ns() < end_ns:
                pass

    async def main():
        rig = Group(is_inline=True)
        works = []
        for count in range(1, 9):
            works.append(rig.execute(Slow()))
            await rig.answered(count)
        assert works[0].thread == threading.current_thread().name
        assert works[-1].thread != threading.current_thread().name
        assert rig.group.alive_count == 1
        assert rig.group.restart_count == 0
        assert all(error is None for _, error in rig.answers)
        await rig.stop()
        assert rig.backends[0].is_closed

    run(main())
