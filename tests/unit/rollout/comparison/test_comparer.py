"""The comparer takes pairs on the loop, compares them elsewhere, and bounds what it holds."""

import asyncio
import threading

import numpy as np
import pytest
from pairing import output, pair

from headrace.rollout.comparison import comparer as module
from headrace.rollout.comparison.comparer import MAX_COMPARISONS, Comparer
from headrace.rollout.comparison.comparison import Comparison
from headrace.rollout.comparison.differences import compare
from support.loops import run, until


def number(live=1.0, shadow=1.0, **changes):
    return pair([output("y", [[live]])], [output("y", [[shadow]])], **changes)


class Gate:
    """Comparing waits for `open`, and says in which thread it was done."""

    def __init__(self, monkeypatch):
        self.open = threading.Event()
        self.threads = []
        self.sizes = []
        monkeypatch.setattr(module, "compare", self)

    def __call__(self, pairs, tolerance):
        assert self.open.wait(10)
        self.threads.append(threading.current_thread())
        self.sizes.append(len(pairs))
        return compare(pairs, tolerance)


def made(**changes):
    told = []
    comparer = Comparer(
        asyncio.get_running_loop(), lambda *what: told.append(what), **{"collect_s": 0.0, **changes}
    )
    return comparer, told


def test_pairs_are_compared_in_batches_of_their_versions():
    async def main():
        comparer, told = made()
        comparer.take([number(), number(1.0, 2.0), number(live_version=3)])
        comparer.take([number(model="other")])
        await until(lambda: len(told) == 3)

        assert sorted(told) == [("m", 1, 2, 2, 1), ("m", 3, 2, 1, 0), ("other", 1, 2, 1, 0)]
        assert comparer.of("m", 1, 2).disagreeing == 1
        assert comparer.of("m", 9, 2) is None
        assert len(comparer.all()) == 3
        await comparer.stop()

    run(main())


def test_arithmetic_is_done_in_another_thread(monkeypatch):
    gate = Gate(monkeypatch)

    async def main():
        comparer, told = made()
        comparer.take([number()])
        gate.open.set()
        await until(lambda: told)
        await comparer.stop()

    run(main())
    assert gate.threads[0] is not threading.main_thread()


def test_pairs_that_come_while_others_are_compared_are_the_next_batch(monkeypatch):
    gate = Gate(monkeypatch)

    async def main():
        comparer, told = made()
        comparer.take([number()])
        await asyncio.sleep(0.02)
        for _ in range(5):
            comparer.take([number()])
        gate.open.set()
        await until(lambda: len(told) == 2)
        await comparer.stop()

    run(main())
    assert gate.sizes == [1, 5]


def test_pairs_beyond_the_bound_are_dropped_and_counted(monkeypatch):
    gate = Gate(monkeypatch)

    async def main():
        comparer, told = made(max_pairs=10)
        comparer.take([number()] * 25)
        assert comparer.dropped_count == 15
        gate.open.set()
        await until(lambda: told)
        comparer.take([number()] * 10)
        await until(lambda: len(told) == 2)

        assert comparer.dropped_count == 15
        await comparer.stop()

    run(main())


def test_bytes_of_pairs_that_wait_are_bounded(monkeypatch):
    gate = Gate(monkeypatch)
    large = pair([output("y", np.zeros((1, 250)))], [output("y", np.zeros((1, 250)))])

    async def main():
        comparer, told = made(max_bytes=5000)
        comparer.take([large] * 4)
        assert comparer.dropped_count == 2
        gate.open.set()
        await until(lambda: told)
        comparer.take([large] * 2)
        await until(lambda: len(told) == 2)

        assert comparer.dropped_count == 2
        await comparer.stop()

    run(main())


def test_comparison_that_got_nothing_for_longest_is_forgotten():
    async def main():
        comparer, told = made()
        comparer.take([number(shadow_version=version) for version in range(MAX_COMPARISONS)])
        await until(lambda: len(told) == MAX_COMPARISONS)
        comparer.take([number(shadow_version=0)])
        comparer.take([number(shadow_version=1000)])
        await until(lambda: len(told) == MAX_COMPARISONS + 2)

        assert len(comparer.all()) == MAX_COMPARISONS
        assert comparer.of("m", 1, 0).pairs == 2
        assert comparer.of("m", 1, 1) is None
        await comparer.stop()

    run(main())


def test_reset_forgets_what_was_and_what_is_under_way(monkeypatch):
    gate = Gate(monkeypatch)

    async def main():
        comparer, told = made()
        gate.open.set()
        comparer.take([number(), number(model="other")])
        await until(lambda: len(told) == 2)
        gate.open.clear()
        comparer.take([number()])
        await asyncio.sleep(0.02)
        comparer.take([number()] * 3)

        comparer.reset("m")
        comparer.take([number()])
        gate.open.set()
        await until(lambda: len(told) == 3)

        assert comparer.of("m", 1, 2).pairs == 1
        assert comparer.of("other", 1, 2).pairs == 1
        await comparer.stop()

    run(main())


def test_goes_on_with_a_comparison_that_was_written_down():
    before = Comparison("m", 1, 2)
    pairs = [number()] * 3
    before.add(pairs, compare(pairs))

    async def main():
        comparer, told = made()
        comparer.resume(Comparison.from_document(before.to_document()))
        comparer.take([number()])
        await until(lambda: told)

        assert comparer.of("m", 1, 2).pairs == 4
        await comparer.stop()

    run(main())


def test_a_failure_loses_its_batch_and_no_other(monkeypatch, caplog):
    def fail(pairs, tolerance):
        if pairs[0].model == "bad":
            raise ZeroDivisionError
        return compare(pairs, tolerance)

    monkeypatch.setattr(module, "compare", fail)

    async def main():
        comparer, told = made()
        comparer.take([number(model="bad"), number()])
        await until(lambda: told)

        assert comparer.failed_count == 1
        assert comparer.of("m", 1, 2).pairs == 1
        await comparer.stop()

    run(main())
    assert "this is a bug" in caplog.text


@pytest.mark.parametrize("keeps", [False, True])
def test_inputs_are_kept_where_they_may_be(keeps):
    async def main():
        comparer, told = made(keeps_inputs=lambda model: keeps)
        comparer.take([number(1.0, 2.0, inputs=[output("x", [[1.0]])])])
        await until(lambda: told)

        (example,) = comparer.of("m", 1, 2).to_document()["worst"]
        assert ("inputs" in example) is keeps
        await comparer.stop()

    run(main())


def test_stop_waits_for_nothing_and_takes_nothing_after(monkeypatch):
    gate = Gate(monkeypatch)

    async def main():
        comparer, told = made()
        comparer.take([number()])
        await asyncio.sleep(0.02)
        await comparer.stop()
        comparer.take([number()])
        gate.open.set()
        await asyncio.sleep(0.02)

        assert not told
        await comparer.stop()

    run(main())


def test_stop_before_anything_came():
    async def main():
        comparer, _ = made(collect_s=60)
        await comparer.stop()
        comparer, _ = made(collect_s=60)
        comparer.take([number()])
        await comparer.stop()

    run(main())
