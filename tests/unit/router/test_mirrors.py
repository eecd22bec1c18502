"""Copies are executed behind the live answer, while there is capacity to spare, and harm nobody."""

import pytest
from shadowing import MS, FakeModel, Rig

from headrace.core.request import NO_PARAMETERS
from headrace.core.route import Shadow
from headrace.errors import ExecutionFailed, InvalidArgument, QueueFull, Unavailable
from headrace.repository.config import DynamicBatching
from headrace.router.shadow.load import MAX_IN_FLIGHT
from headrace.router.shadow.mirror import BUSY_COUNT
from headrace.router.shadow.pump import IDLE_INTERVALS
from headrace.router.shadow.trickle import LIVE_REQUESTS
from headrace.router.shadow.waiting import MAX_AGE_NS, MAX_COUNT
from support.scheduling import config, outputs

SECOND = 1_000_000_000


def test_live_reply_is_complete_before_the_copy_is_submitted():
    rig = Rig()
    _, reply = rig.ask()

    rig.loop.advance()
    assert not rig.shadow.taken
    rig.live.answer()
    assert reply.answer_count == 1
    assert not rig.shadow.taken
    rig.loop.advance()

    assert len(rig.shadow.taken) == 1


def test_copy_shares_tensors_and_keeps_nothing_of_its_caller():
    rig = Rig()
    asked, _ = rig.ask(
        id="7",
        outputs=outputs("y"),
        deadline_ns=5,
        notes={"a": 1},
        wants_route=True,
        metadata=lambda name: "secret",
    )
    rig.live.answer()
    rig.loop.advance()

    copy, _ = rig.shadow.taken[0]
    assert copy.inputs is asked.inputs
    assert (copy.id, copy.outputs, copy.model_version) == ("7", asked.outputs, "2")
    assert copy.is_shadow
    assert copy.deadline_ns is None
    assert copy.notes is NO_PARAMETERS
    assert not copy.wants_route
    assert copy.metadata("authorization") is None
    assert copy.caller.name == "shadow"
    assert not asked.is_shadow


def test_copy_has_the_lowest_priority_that_the_shadow_knows():
    rig = Rig()
    rig.shadow.config = config(dynamic_batching=DynamicBatching(priority_levels=4))

    rig.answered(parameters={"priority": 1, "timeout": 5, "other": "kept"})

    assert rig.shadow.taken[0][0].parameters == {"priority": 4, "other": "kept"}


def test_pair_has_both_answers_and_their_times():
    rig = Rig()
    _, reply = rig.ask(id="7")
    rig.loop.advance(0.003)
    rig.live.answer(2 * MS)
    rig.loop.advance()
    rig.loop.advance(0.005)
    rig.shadow.answer(4 * MS)
    rig.loop.advance()

    (pair,) = rig.pairs
    assert (pair.model, pair.live_version, pair.shadow_version, pair.request_id) == ("m", 1, 2, "7")
    assert pair.live is reply.responses[0]
    assert pair.shadow.model_version == "2"
    assert (pair.live_ns, pair.shadow_ns) == (3 * MS, 5 * MS)
    assert pair.live_timings.compute_infer_ns == 2 * MS
    assert pair.shadow_timings.compute_infer_ns == 4 * MS
    assert pair.inputs is None
    assert rig.counts() == {"paired": 1}


def test_inputs_are_in_the_pair_where_they_may_be_captured():
    rig = Rig(captures_inputs=lambda model: model == "m")
    rig.answered()
    rig.shadow.answer()
    rig.loop.advance()

    assert [tensor.name for tensor in rig.pairs[0].inputs] == ["x"]


def test_answers_of_one_turn_of_the_loop_are_one_batch_for_the_sink():
    rig = Rig()
    rig.answered()
    rig.shadow.answer()
    rig.answered(5)

    for _ in range(5):
        rig.shadow.answer()
    rig.loop.advance()

    assert [len(lot) for lot in rig.lots] == [1, 5]


def test_until_it_is_known_what_a_copy_costs_one_executes_at_a_time():
    rig = Rig()
    rig.answered(50)

    assert len(rig.shadow.taken) == 1
    rig.shadow.answer()
    rig.loop.advance()

    assert len(rig.shadow.taken) == MAX_IN_FLIGHT


def test_copies_of_a_shadow_with_a_short_queue_do_not_fill_it():
    rig = Rig()
    rig.shadow.max_queue_size = 4
    rig.answered(50)
    rig.shadow.answer()
    rig.loop.advance()

    assert len(rig.shadow.taken) == 2


def test_capacity_is_charged_with_what_copies_execute():
    rig = Rig()
    rig.answered(2)
    rig.shadow.answer(30 * MS)
    assert rig.capacity.spent_s == pytest.approx(0.030)

    rig.loop.advance()
    assert rig.capacity.spent_s == pytest.approx(0.060), "the next is expected to cost as much"
    rig.shadow.answer(10 * MS)

    assert rig.capacity.spent_s == pytest.approx(0.040)


def test_without_capacity_copies_wait_for_it():
    rig = Rig()
    rig.capacity.has_any = False
    rig.answered(3)
    rig.interval(5)
    assert not rig.shadow.taken

    rig.capacity.has_any = True
    rig.interval()

    assert rig.shadow.taken


@pytest.mark.parametrize("version", [1, 3], ids=["of the live version", "of another model"])
def test_copies_wait_while_live_requests_wait_in_a_queue(version):
    rig = Rig()
    other = rig.ready.setdefault(version, FakeModel(name="other", version=version))
    other.backlog = 1
    rig.answered(3)
    rig.interval(5)
    assert not rig.shadow.taken
    assert rig.capacity.looks == [True] * 5

    other.backlog = 0
    rig.interval()

    assert rig.shadow.taken


def test_copies_that_wait_at_their_shadow_are_no_live_requests():
    rig = Rig()
    rig.answered(40)
    rig.shadow.answer()
    rig.loop.advance()
    rig.shadow.backlog = 3

    rig.shadow.answer()
    rig.loop.advance()
    assert len(rig.shadow.taken) == MAX_IN_FLIGHT
    rig.shadow.backlog = MAX_IN_FLIGHT + 1
    rig.shadow.answer()
    rig.loop.advance()

    assert len(rig.shadow.taken) == MAX_IN_FLIGHT - 1


def test_while_it_is_busy_one_in_a_hundred_live_requests_trickles():
    rig = Rig()
    rig.capacity.is_busy, rig.capacity.has_any = True, False
    submitted = 0
    for _ in range(10 * LIVE_REQUESTS):
        rig.answered()
        rig.loop.advance(10.0 / LIVE_REQUESTS)
        if rig.shadow.taken:
            rig.shadow.answer()
            submitted += 1

    assert 9 <= submitted <= 10
    counts = rig.counts()
    assert counts["paired"] == submitted
    assert sum(counts.values()) + len(rig.mirror.waiting) == 10 * LIVE_REQUESTS


def test_while_it_is_busy_few_copies_wait():
    rig = Rig()
    rig.capacity.is_busy, rig.capacity.has_any = True, False

    for _ in range(90):
        rig.answered()

    assert len(rig.mirror.waiting) == BUSY_COUNT
    assert rig.counts() == {"dropped_busy": 90 - BUSY_COUNT}


def test_copies_are_bounded_and_the_oldest_are_dropped():
    rig = Rig()
    rig.capacity.has_any = False

    for number in range(MAX_COUNT + 40):
        rig.answered(id=str(number))

    assert rig.counts() == {"dropped_full": 40}
    assert rig.mirror.waiting.take().request.id == "40"


def test_copies_that_waited_for_too_long_are_dropped():
    rig = Rig()
    rig.capacity.has_any = False
    rig.answered(3)

    rig.loop.advance(MAX_AGE_NS / 1e9 + 0.2)

    assert rig.counts() == {"dropped_late": 3}


def test_copies_for_a_version_that_is_not_ready_are_dropped():
    rig = Rig()
    del rig.ready[2]

    rig.answered(3)

    assert rig.counts() == {"dropped_not_ready": 3}


def test_shadow_that_comes_later_gets_copies_from_then_on():
    rig = Rig()
    del rig.ready[2]
    rig.answered(3)

    rig.ready[2] = rig.shadow
    rig.answered(1)

    assert len(rig.shadow.taken) == 1


def test_unload_in_the_middle_is_data_and_what_waits_is_dropped():
    rig = Rig()
    rig.answered(3)

    del rig.ready[2]
    rig.shadow.fail(Unavailable("model 'm' version 2 was unloaded"))
    rig.loop.advance()

    assert isinstance(rig.pairs[0].shadow, Unavailable)
    assert rig.counts() == {"paired": 1, "dropped_not_ready": 2}


def test_a_loaded_anew_shadow_gets_the_next_copy():
    rig = Rig()
    rig.answered(2)
    rig.ready[2] = replacement = FakeModel(version=2)

    rig.shadow.answer()
    rig.loop.advance()

    assert len(replacement.taken) == 1


@pytest.mark.parametrize(
    "refusal",
    [QueueFull("full"), InvalidArgument("unexpected input"), ExecutionFailed("broke")],
    ids=lambda error: type(error).__name__,
)
def test_what_the_shadow_refuses_is_data(refusal):
    rig = Rig()
    rig.shadow.refusal = refusal
    _, reply = rig.ask()
    rig.live.answer()
    rig.loop.advance()

    assert reply.answer_count == 1
    assert rig.pairs[0].shadow is refusal


def test_a_shadow_whose_queue_is_full_is_not_asked_again_in_the_same_turn():
    rig = Rig()
    rig.answered()
    rig.shadow.answer()
    rig.loop.advance()
    rig.shadow.refusal = QueueFull("full")
    rig.loop.call_soon = lambda callback: None

    for _ in range(5):
        rig.ask()
        rig.live.answer()
    rig.mirrors._pump._run()

    assert len(rig.mirror.waiting) == 4


def test_an_exception_of_the_shadow_is_nobodys_but_the_pairs(caplog):
    rig = Rig()
    rig.shadow.refusal = ZeroDivisionError("oops")
    rig.answered()

    assert isinstance(rig.pairs[0].shadow, ExecutionFailed)
    assert "this is a bug" in caplog.text


def test_an_exception_of_the_sink_ends_nothing(caplog):
    rig = Rig()
    rig.take = lambda pairs: 1 / 0
    rig.mirrors._pump._sink = rig
    for _ in range(2):
        rig.answered()
        rig.shadow.answer()
        rig.loop.advance()

    assert rig.counts() == {"paired": 2}
    assert "this is a bug" in caplog.text


def test_failure_of_the_live_version_is_compared():
    rig = Rig()
    rig.ask()
    rig.live.fail(ExecutionFailed("broke"))
    rig.loop.advance()
    rig.shadow.answer()
    rig.loop.advance()

    (pair,) = rig.pairs
    assert isinstance(pair.live, ExecutionFailed)
    assert pair.live_version == 1


def test_two_shadows_take_turns():
    rig = Rig()
    third = rig.ready[3] = FakeModel(version=3)
    rig.mirror, other = rig.mirrors.of("m", [Shadow(2), Shadow(3)])
    for _ in range(20):
        asked, _ = rig.ask()
        rig.live.taken[-1] = (asked, other.listen(asked, rig.live.taken[-1][1], rig.live))
        rig.live.answer()
    rig.loop.advance()
    for model in (rig.shadow, third):
        model.answer()
    rig.loop.advance()

    assert abs(len(rig.shadow.taken) - len(third.taken)) <= 1


def test_mirrors_are_kept_while_their_version_is_a_shadow_and_take_nothing_after():
    rig = Rig()

    (again,) = rig.mirrors.of("m", [Shadow(2, 500)])
    assert again is rig.mirror
    assert sum(again.is_next() for _ in range(1000)) == 500
    rig.mirrors.of("other", [Shadow(2, 1000)])
    assert sum(again.is_next() for _ in range(1000)) == 500
    assert rig.mirrors.of("m", []) == []

    assert not any(again.is_next() for _ in range(1000))


def test_nothing_runs_where_nothing_waits():
    rig = Rig()
    rig.answered()
    rig.shadow.answer()
    rig.loop.advance()
    assert rig.loop.pending

    rig.interval(IDLE_INTERVALS + 1)

    assert not rig.loop.pending
    assert rig.capacity.begins == 1


def test_after_a_rest_the_capacity_is_looked_at_anew():
    rig = Rig()
    rig.answered()
    rig.shadow.answer()
    rig.loop.advance(5)

    rig.answered()

    assert rig.capacity.begins == 2
    assert len(rig.loop.pending) == 1


def test_requests_that_come_to_nothing_while_busy_do_not_end_the_sampling():
    rig = Rig()
    rig.capacity.is_busy, rig.capacity.has_any = True, False
    rig.answered(200)
    for _ in range(BUSY_COUNT + 1):
        rig.ask()
        rig.live.fail(Unavailable("unloaded"))
    rig.loop.advance(30)

    assert rig.mirror.is_next()


def test_after_the_stop_nothing_is_submitted_and_no_answer_is_waited_for():
    rig = Rig()
    rig.answered(5)
    rig.shadow.answer()
    _, waiting = rig.shadow.taken[0] if rig.shadow.taken else (None, None)
    rig.loop.advance()
    _, waiting = rig.shadow.taken[0]
    assert waiting.is_wanted
    submitted = len(rig.shadow.taken)

    rig.mirrors.stop()
    assert not waiting.is_wanted
    rig.shadow.answer()
    rig.answered(3)
    rig.loop.advance(10)

    assert len(rig.shadow.taken) == submitted - 1
    assert len(rig.pairs) == 1
    assert not rig.loop.pending
    rig.mirrors.stop()


def test_pairs_that_are_there_at_the_stop_go_to_the_sink():
    rig = Rig()
    rig.answered()
    rig.shadow.answer()

    rig.mirrors.stop()

    assert len(rig.pairs) == 1
