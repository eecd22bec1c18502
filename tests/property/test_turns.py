"""A queue that callers share: no request is lost, nobody is passed over, and one caller notices nothing."""

from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.core.caller import Caller, Proof
from headrace.errors import QueueFull
from headrace.repository.config import QueuePolicy, TimeoutAction
from headrace.scheduler.entry import Entry
from headrace.scheduler.queue import RequestQueue
from support.scheduling import RecordedReply, request

NOTHING = np.zeros((1, 1), np.float32)
LARGEST = 8

PUTS = st.tuples(
    st.just("put"),
    st.integers(0, 4),  # caller
    st.integers(1, LARGEST),  # rows
    st.sampled_from("xy"),  # line
    st.integers(0, 1),  # level
    st.sampled_from([None, None, 5, 20]),  # time in the queue
)
STEPS = st.lists(
    st.one_of(
        PUTS,
        PUTS,
        st.tuples(st.just("take"), st.integers(1, 2 * LARGEST)),
        st.tuples(st.just("leave"), st.integers(0, 30)),
        st.tuples(st.just("wait"), st.integers(1, 20)),
    ),
    max_size=80,
)


def entry(caller: int, rows: int, line: str = "x", level: int = 0, expires_ns: int | None = None) -> Entry:
    made = request(NOTHING, caller=Caller(str(caller), proof=Proof.KEY))
    return Entry(made, RecordedReply(), (), (), (), rows, line, level, expires_ns=expires_ns)


def take(queue: RequestQueue, row_limit: int) -> list[Entry]:
    head = queue.head()
    return [] if head is None else queue.take(head, max(row_limit, head.first.rows), 1000)


class Recorded:
    """A queue under `steps`, and what became of each entry, in order; `puts` are those that it took on."""

    def __init__(self, action: TimeoutAction, max_queue_size: int) -> None:
        policy = QueuePolicy(timeout_action=action, max_queue_size=max_queue_size)
        self.queue = RequestQueue([policy, policy], "m")
        self.queue.dropped = self.queue.displaced = lambda entry, error=None: self.gone.append(entry)
        self.puts: list[Entry] = []
        self.taken: list[list[Entry]] = []
        self.gone: list[Entry] = []
        self.refused: list[Entry] = []
        self.now_ns = 0

    def do(self, kind: str, *details) -> None:
        if kind == "put":
            *what, time_ns = details
            self.put(entry(*what, None if time_ns is None else self.now_ns + time_ns))
        elif kind == "take":
            self.queue.end_overdue(self.now_ns)
            self.taken.append(take(self.queue, details[0]))
        elif kind == "leave":
            for each in self.puts[details[0] : details[0] + 1]:
                each.reply.is_wanted = False
        else:
            self.now_ns += details[0]

    def put(self, entry: Entry) -> None:
        self.now_ns += 1
        try:
            self.queue.put(entry, self.now_ns)
        except QueueFull:
            self.refused.append(entry)
        else:
            self.puts.append(entry)

    def empty(self) -> None:
        while self.queue.size:
            self.taken.append(take(self.queue, LARGEST))

    @property
    def all_taken(self) -> list[Entry]:
        return [entry for batch in self.taken for entry in batch]


@settings(max_examples=400, deadline=None)
@given(steps=STEPS, action=st.sampled_from(TimeoutAction), max_queue_size=st.sampled_from([1, 3, 8, 1000]))
def test_every_request_leaves_once_and_nothing_is_remembered(steps, action, max_queue_size):
    recorded = Recorded(action, max_queue_size)
    for step in steps:
        recorded.do(*step)
        for level in recorded.queue._levels:
            lines = [*level.lines.values(), *level.delayed.values()]
            waiting = Counter(each.request.caller.name for line in lines for each in line)
            assert level.size == sum(waiting.values()) <= max_queue_size
            standings = level.standings
            assert (standings.only is None) == (len(standings.by_key) != 1)
            if standings.only is None:
                counts = {each.caller.name: each.waiting_count for each in standings.by_key.values()}
                assert Counter(counts) == waiting
                assert standings._caller_count == len(waiting)
            elif waiting:
                assert waiting.keys() == {standings.only.caller.name}
            for line in lines:
                entries = list(line)
                assert line.size == len(entries) > 0
                assert line.rows == sum(each.rows for each in entries)
                assert line.first in entries
                assert line.oldest_ns <= line.first.queued_ns
    recorded.empty()
    left = recorded.all_taken + recorded.gone
    assert len(left) == len(recorded.puts)
    assert set(left) == set(recorded.puts)
    for level in recorded.queue._levels:
        assert not (level.lines or level.delayed)
        assert len(level.standings.by_key) <= 1


@settings(max_examples=300, deadline=None)
@given(steps=STEPS, max_queue_size=st.sampled_from([3, 8, 1000]))
def test_a_callers_requests_of_one_line_leave_in_the_order_in_which_they_came(steps, max_queue_size):
    recorded = Recorded(TimeoutAction.REJECT, max_queue_size)
    for step in steps:
        recorded.do(*step)
    recorded.empty()
    streams: dict[object, list[int]] = defaultdict(list)
    for each in recorded.all_taken:
        streams[each.request.caller.name, each.line, each.level].append(each.queued_ns)
    for stream in streams.values():
        assert stream == sorted(stream)


@settings(max_examples=300, deadline=None)
@given(steps=STEPS, max_queue_size=st.sampled_from([3, 8, 1000]))
def test_one_caller_is_served_as_by_a_queue_that_knows_no_callers(steps, max_queue_size):
    recorded = Recorded(TimeoutAction.REJECT, max_queue_size)
    waiting: list[list[Entry]] = [[], []]
    for step in steps:
        if step[0] == "put":
            _, _, rows, line, level, _ = step
            each = entry(0, rows, line, level)
            recorded.put(each)
            if len(waiting[level]) < max_queue_size:
                waiting[level].append(each)
        elif step[0] == "take":
            first = next((each for each in waiting[0] + waiting[1]), None)
            recorded.do(*step)
            if first is None:
                continue
            equal = [each for each in waiting[0] + waiting[1] if each.line == first.line]
            limit, expected = max(step[1], first.rows), []
            for each in equal:
                if sum(taken.rows for taken in expected) + each.rows > limit:
                    break
                expected.append(each)
                waiting[each.level].remove(each)
            assert recorded.taken[-1] == expected
    assert recorded.queue.size == len(waiting[0] + waiting[1])


# The rows of a caller's requests, one after the other.
ROWS = st.lists(st.integers(1, LARGEST), min_size=1, max_size=6).map(lambda sizes: sizes * (60 // len(sizes)))


@settings(max_examples=200, deadline=None)
@given(
    always=st.lists(ROWS, min_size=2, max_size=5),
    limits=st.lists(st.integers(1, 3 * LARGEST), min_size=5, max_size=60),
    others=st.lists(st.lists(st.tuples(st.integers(10, 40), st.integers(1, LARGEST)), max_size=3)),
)
def test_callers_who_always_wait_are_given_the_same_rows_but_for_two_requests(always, limits, others):
    """Whoever else comes and goes; two requests of the largest size is start-time fair queuing's promise."""
    queue = RequestQueue([QueuePolicy(max_queue_size=10_000)], "m")
    for caller, sizes in enumerate(always):
        for size in sizes:
            queue.put(entry(caller, size), 1)
    had = Counter({str(caller): 0 for caller in range(len(always))})
    waiting = Counter({str(caller): len(sizes) for caller, sizes in enumerate(always)})
    for turn, limit in enumerate(limits):
        for caller, size in others[turn] if turn < len(others) else ():
            queue.put(entry(caller, size), turn + 2)
        for each in take(queue, limit):
            name = each.request.caller.name
            if name not in had:
                continue
            had[name] += each.rows
            waiting[name] -= 1
            if not waiting[name]:
                return
            assert max(had.values()) - min(had.values()) <= 2 * LARGEST


@pytest.mark.parametrize("caller_count", [2, 5])
@settings(max_examples=100, deadline=None)
@given(data=st.data(), row_limit=st.integers(LARGEST, 4 * LARGEST))
def test_callers_who_always_wait_in_lines_of_their_own_are_given_the_same_rows_but_for_a_batch(
    caller_count, data, row_limit
):
    queue = RequestQueue([QueuePolicy(max_queue_size=10_000)], "m")
    waiting = {}
    for caller in range(caller_count):
        sizes = data.draw(ROWS)
        waiting[str(caller)] = len(sizes)
        for size in sizes:
            queue.put(entry(caller, size, line=f"line of {caller}"), caller + 1)
    had = Counter(dict.fromkeys(waiting, 0))
    while all(waiting.values()):
        for each in take(queue, row_limit):
            had[each.request.caller.name] += each.rows
            waiting[each.request.caller.name] -= 1
        assert max(had.values()) - min(had.values()) <= row_limit + LARGEST
