"""Who is told what became of a version's requests."""

import time

import pytest

from headrace.errors import ExecutionFailed, InvalidArgument
from headrace.model.recorder import Recorder
from headrace.model.signature import Signature, queue_policies
from headrace.model.statistics import Statistics
from headrace.rollout.tally import Tally
from headrace.router.breaker import Breaker
from headrace.scheduler.batch import Batch, Layout
from headrace.scheduler.history import ClosedBecause, History
from support.scheduling import RecordedReply, config, request, rows

MODEL = config(max_batch_size=8)

SHARED = {"is_shared": True}
NAMED = {}
SHADOW = {"is_shadow": True}
# A copy of a request that was shared.
SHADOW_OF_SHARED = {"is_shadow": True, "is_shared": True}


class RecordedWatch:
    def __init__(self, *, only_shared):
        self.only_shared = only_shared
        self.answers = []
        self.failures = 0

    def answered(self, total_ns):
        self.answers.append(len(total_ns))

    def failed(self, errors):
        self.failures += len(errors)


class Told:
    """A recorder, and what its watches were told."""

    def __init__(self):
        self.recorder = Recorder(1, Statistics(), History(4))
        self.all = RecordedWatch(only_shared=False)
        self.shared = RecordedWatch(only_shared=True)
        self.ends = [self.recorder.watch(watch) for watch in (self.all, self.shared)]


def batch_of(*kinds, error=None):
    signature = Signature(MODEL, queue_policies(MODEL, 16))
    entries = [signature.admit(request(rows(1), **kind), RecordedReply()) for kind in kinds]
    now_ns = time.monotonic_ns()
    batch = Batch(Layout.of(MODEL, "1"), entries, len(entries), now_ns, ClosedBecause.FULL, "m_0")
    batch.outcomes = [error] * len(entries)
    return batch


def test_of_a_batch_each_watch_is_told_of_the_requests_that_it_follows():
    on = Told()
    on.recorder.executed(batch_of(SHARED, NAMED, SHARED, NAMED, SHADOW, SHADOW_OF_SHARED))
    assert on.all.answers == [4]
    assert on.shared.answers == [2]


def test_nobody_is_told_of_batches_without_requests_that_they_follow():
    on = Told()
    on.recorder.executed(batch_of(NAMED, SHADOW))
    on.recorder.executed(batch_of(SHADOW_OF_SHARED))
    assert on.all.answers == [1]
    assert on.shared.answers == []


@pytest.mark.parametrize(
    ("kind", "of_all", "of_shared"),
    [(SHARED, 2, 2), (NAMED, 2, 0), (SHADOW, 0, 0), (SHADOW_OF_SHARED, 0, 0)],
    ids=["shared", "named", "shadow", "shadow of shared"],
)
def test_failures_are_told_like_answers(kind, of_all, of_shared):
    on = Told()
    error = ExecutionFailed("no")
    on.recorder.executed(batch_of(kind, error=error))
    on.recorder.refused(request(rows(1), **kind), InvalidArgument("bad"))
    assert (on.all.failures, on.shared.failures) == (of_all, of_shared)


def test_a_watch_that_has_ended_is_told_nothing():
    on = Told()
    for end in on.ends:
        end()
    on.recorder.executed(batch_of(SHARED))
    on.recorder.refused(request(rows(1), **SHARED), InvalidArgument("bad"))
    assert (on.all.answers, on.shared.answers) == ([], [])
    assert (on.all.failures, on.shared.failures) == (0, 0)


def test_bad_requests_that_name_a_version_do_not_count_in_its_rollout():
    tally = Tally()
    recorder = Recorder(2, Statistics(), History(4))
    recorder.watch(tally)
    for _ in range(100):
        recorder.refused(request(rows(1), model_version="2"), InvalidArgument("bad"))
    recorder.refused(request(rows(1), **SHARED), InvalidArgument("bad"))
    assert tally.take().requests == 1


def test_breakers_follow_all_requests_of_their_version():
    assert not Breaker.only_shared
