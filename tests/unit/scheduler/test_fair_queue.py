"""The queue between callers: whose turn it is, who has to leave a full one, and that nobody is remembered."""

from string import ascii_uppercase

import numpy as np
import pytest

from headrace.core.caller import Caller, Proof
from headrace.errors import QueueFull
from headrace.repository.config import DynamicBatching, QueuePolicy, TimeoutAction
from headrace.scheduler.entry import Entry
from headrace.scheduler.history import ClosedBecause
from headrace.scheduler.queue import RequestQueue
from support.loops import run, until
from support.scheduling import Doubler, RecordedReply, Rig, config, request, rows

NOTHING = np.zeros((1, 1), np.float32)


def key(name: str, address: str = "") -> Caller:
    """A caller as each of its requests brings one along."""
    return Caller(name, proof=Proof.KEY, address=address)


def stranger(address: str) -> Caller:
    return Caller("stranger", address=address)


class Queue:
    """A queue whose clock counts what was put; callers are told by one letter."""

    def __init__(self, *policies: QueuePolicy) -> None:
        self.queue = RequestQueue(list(policies) or [QueuePolicy(max_queue_size=1024)], "m")
        self.queue.dropped = lambda entry: self.dropped.append(entry.request.id)
        self.queue.displaced = lambda entry, error: self.displaced.append((entry.request.id, str(error)))
        self.dropped: list[str] = []
        self.displaced: list[tuple[str, str]] = []
        self.now_ns = 0

    def put(self, caller: Caller | str, *, size: int = 1, line: str = "", level: int = 0, **more) -> Entry:
        caller = key(caller) if isinstance(caller, str) else caller
        self.now_ns += 1
        made = request(NOTHING, id=f"{caller.name}{self.now_ns}", caller=caller)
        entry = Entry(made, RecordedReply(), (), (), (), size, line, level, **more)
        self.queue.put(entry, self.now_ns)
        return entry

    def put_all(self, callers: str, **more) -> list[Entry]:
        """One entry a letter."""
        return [self.put(caller, **more) for caller in callers]

    def take(self, row_limit: int = 1) -> str:
        """The names of those who are served next."""
        return "".join(entry.request.caller.name for entry in self.take_entries(row_limit))

    def take_entries(self, row_limit: int = 1) -> list[Entry]:
        head = self.queue.head()
        return [] if head is None else self.queue.take(head, max(row_limit, head.first.rows), 4096)

    def assert_remembers_nobody(self) -> None:
        assert self.queue.size == 0
        for level in self.queue._levels:
            assert not level.size
            assert not level.lines
            assert not level.delayed
            assert len(level.standings.by_key) <= 1


def test_one_caller_is_served_first_in_first_out():
    queue = Queue()
    entries = [queue.put("a", size=size, line=line) for size, line in zip((1, 3, 2, 1), "xyxy")]
    assert [queue.take_entries(8), queue.take_entries(8)] == [entries[::2], entries[1::2]]
    queue.assert_remembers_nobody()


def test_callers_take_turns_though_one_came_first_with_all_it_has():
    queue = Queue()
    queue.put_all("aaaaaabbbc")
    assert queue.take(row_limit=8) == "abcababa"
    assert queue.take(row_limit=8) == "aa"
    queue.assert_remembers_nobody()


def test_turns_are_counted_in_rows():
    queue = Queue()
    queue.put_all("aaaa", size=6)
    queue.put_all("b" * 12, size=2)
    taken = [entry for _ in range(16) for entry in queue.take_entries()]
    names = "".join(entry.request.caller.name for entry in taken)
    assert names == "abbbabbbabbbabbb"
    queue.assert_remembers_nobody()


def test_each_callers_own_requests_stay_in_order():
    queue = Queue()
    entries = queue.put_all("aabbabab")
    taken = queue.take_entries(8)
    for caller in "ab":
        own = [entry for entry in taken if entry.request.caller.name == caller]
        assert own == [entry for entry in entries if entry.request.caller.name == caller]


def test_who_comes_late_waits_for_a_turn_and_not_for_the_queue():
    queue = Queue()
    queue.put_all("a" * 100)
    queue.take(row_limit=32)
    queue.put_all("b")
    assert queue.take() + queue.take() in ("ab", "ba")


def test_who_sends_one_at_a_time_is_served_every_other_time():
    """Whoever floods the queue meanwhile; the next one comes while an answer goes back."""
    queue = Queue()
    queue.put_all("a" * 100)
    served = ""
    for _ in range(20):
        served += queue.take()
        if served[-1:] != "b" and queue.queue.size == 100 - served.count("a"):
            queue.put("b")
    assert served == "ab" * 10


def test_ever_new_callers_do_not_keep_out_one_who_waits():
    queue = Queue()
    queue.put_all("a" * 100)
    served = ""
    for name in ascii_uppercase:
        queue.put(name, size=3)
        while name not in served:
            served += queue.take()
    assert served.count("a") >= 26, served


def test_a_caller_who_is_back_at_once_has_not_lost_what_it_owes():
    """Two requests under way are enough to be never without one in the queue, and never with two."""
    queue = Queue()
    queue.put_all("a" * 40)
    served = ""
    for _ in range(20):
        queue.put("b", size=8)
        while "b" not in (taken := queue.take()):
            served += taken
        served += taken
    assert served.count("a") > 0.8 * 40
    assert queue.take(row_limit=40).count("a") == 40 - served.count("a")
    queue.assert_remembers_nobody()


def test_who_was_away_has_saved_nothing_up():
    queue = Queue()
    queue.put_all("ab")
    queue.take(row_limit=2)
    for _ in range(50):
        queue.put_all("ac")
        queue.take(row_limit=2)
    queue.put_all("aaaabbbb")
    assert queue.take(row_limit=4) == "abab"


@pytest.mark.parametrize(
    ("one", "other", "are_one"),
    [
        (key("a", "10.0.0.1:1"), key("a", "10.0.0.2:2"), True),
        (key("a"), Caller("a", proof=Proof.CERTIFICATE), False),
        (key("stranger"), stranger(""), False),
        (stranger("10.0.0.1:1"), stranger("10.0.0.2:1"), True),
        (stranger(""), stranger("unix"), True),
    ],
)
def test_callers_are_told_apart_by_proof_and_name_and_strangers_not_at_all(one, other, are_one):
    queue = Queue()
    sent = [queue.put(caller) for caller in (one, one, one, other)]
    place = queue.take_entries(4).index(sent[3])
    assert place == (3 if are_one else 1)
    queue.assert_remembers_nobody()


def test_a_line_of_older_requests_does_not_go_before_another_callers_turn():
    queue = Queue()
    queue.put_all("a" * 20, line="x")
    queue.put_all("bb", line="y")
    assert [queue.take(4) for _ in range(4)] == ["aaaa", "bb", "aaaa", "aaaa"]
    queue.put_all("b" * 8, line="y")
    served = [queue.take(4) for _ in range(4)]
    assert sorted(served) == ["aaaa", "aaaa", "bbbb", "bbbb"]


def test_room_in_a_batch_that_nobody_else_could_use_is_not_held_against_its_user_for_long():
    """b waits in x with one request at a time, and in y; whoever shares x with it fills its batches."""
    queue = Queue()
    queue.put_all("a" * 400, line="x")
    queue.put_all("b" * 100, line="y")
    for _ in range(40):
        queue.put("b", line="x")
        queue.take(8)
    queue.put_all("b" * 100, line="x")
    assert "a" in queue.take(8) + queue.take(8) + queue.take(8)


def test_the_delay_is_that_of_the_oldest_request_whoever_is_next():
    queue = Queue()
    oldest, *_ = queue.put_all("aaab")
    queue.take(row_limit=1)
    queue.put_all("ab")
    (line,) = queue.queue.lines()
    assert line.first.request.caller.name == "b"
    assert line.oldest_ns == oldest.queued_ns + 1
    assert (line.size, line.rows) == (5, 5)


def test_a_batch_is_due_when_its_oldest_request_has_waited_though_another_caller_goes_first():
    async def main():
        batching = DynamicBatching(max_queue_delay_us=40_000)
        rig = Rig(config(dynamic_batching=batching), Doubler())
        rig.open()
        replies = [rig.send(rows(1, start=index), caller=key(name)) for index, name in enumerate("aab")]
        await until(lambda: all(reply.answer_count for reply in replies))
        (batch,) = rig.observer.batches
        assert batch.because is ClosedBecause.DELAY
        assert [entry.request.caller.name for entry in batch.entries] == ["a", "b", "a"]
        assert batch.taken_ns - batch.entries[0].queued_ns >= 40_000_000
        await rig.stop()

    run(main())


def test_levels_are_served_in_order_and_each_in_turns():
    queue = Queue(QueuePolicy(max_queue_size=8), QueuePolicy(max_queue_size=8))
    queue.put_all("aaab", level=1)
    queue.put_all("ccd")
    assert queue.take(5) == "cdcab"
    assert queue.take(5) == "aa"
    queue.assert_remembers_nobody()


def test_a_full_queue_makes_room_for_a_caller_with_less_than_its_part():
    queue = Queue(QueuePolicy(max_queue_size=4))
    entries = queue.put_all("aaaa")
    queue.put_all("bb")
    assert [name for name, _ in queue.displaced] == [entry.request.id for entry in (entries[3], entries[2])]
    assert all("Exceeds maximum queue size" in text and "4" in text for _, text in queue.displaced)
    for caller in "ab":
        with pytest.raises(QueueFull, match="holds 4 requests already"):
            queue.put(caller)
    assert queue.queue.size == 4
    assert queue.take(4) == "abab"
    queue.assert_remembers_nobody()


def test_room_is_made_by_the_caller_with_the_most_wherever_its_newest_request_waits():
    queue = Queue(QueuePolicy(max_queue_size=6))
    entries = [queue.put("a", line=line) for line in "xyx"]
    queue.put_all("bb", line="y")
    queue.put("c", line="z")
    queue.put("d", line="y")
    assert [name for name, _ in queue.displaced] == [entries[2].request.id]
    assert [queue.take(8) for _ in range(3)] == ["a", "bdab", "c"]


def test_callers_with_one_request_each_do_not_displace_one_another():
    queue = Queue(QueuePolicy(max_queue_size=3))
    queue.put_all("abc")
    with pytest.raises(QueueFull):
        queue.put("d")
    assert not queue.displaced
    queue = Queue(QueuePolicy(max_queue_size=1))
    queue.put("a")
    with pytest.raises(QueueFull):
        queue.put("b")
    assert queue.take() == "a"
    queue.assert_remembers_nobody()


def test_levels_are_full_each_by_itself():
    queue = Queue(QueuePolicy(max_queue_size=2), QueuePolicy(max_queue_size=2))
    queue.put_all("aa")
    queue.put_all("ba", level=1)
    with pytest.raises(QueueFull):
        queue.put("b", level=1)
    queue.put("b")
    assert len(queue.displaced) == 1


def test_those_who_left_make_room_before_anybody_has_to():
    queue = Queue(QueuePolicy(max_queue_size=4))
    entries = queue.put_all("aaaa")
    entries[1].reply.is_wanted = False
    queue.now_ns += 10_000_000
    queue.put("b")
    assert queue.dropped == [entries[1].request.id]
    assert not queue.displaced


def test_whoever_is_displaced_is_told_once_and_counted_as_refused():
    async def main():
        policy = QueuePolicy(max_queue_size=2)
        rig = Rig(config(dynamic_batching=DynamicBatching(default_queue_policy=policy)), Doubler())
        rig.send(rows(1))
        await until(lambda: not rig.group.has_idle and not rig.queue.size)
        kept, displaced = (rig.send(rows(1), caller=key("a")) for _ in range(2))
        newcomer = rig.send(rows(1), caller=key("b"))
        assert [type(error) for error in displaced.errors] == [QueueFull]
        assert [(entry.reply, type(error)) for entry, error in rig.observer.drops] == [(displaced, QueueFull)]
        await rig.stop()
        assert kept.responses
        assert newcomer.responses
        assert displaced.answer_count == 1

    run(main())


def test_callers_who_leave_in_the_middle_disturb_no_turn():
    queue = Queue()
    entries = queue.put_all("aaabbbccc")
    for index in (1, 3, 4, 5):
        entries[index].reply.is_wanted = False
    assert queue.take(9) == "acacc"
    assert len(queue.dropped) == 4
    queue.assert_remembers_nobody()


@pytest.mark.parametrize("action", TimeoutAction)
def test_entries_whose_time_is_over_leave_their_turn_or_are_delayed_in_turns(action):
    queue = Queue(QueuePolicy(max_queue_size=16, timeout_action=action))
    for caller in "aabb":
        queue.put(caller, expires_ns=50)
    queue.put_all("ca")
    queue.queue.end_overdue(50)
    if action is TimeoutAction.REJECT:
        assert len(queue.dropped) == 4
        assert queue.take(16) == "ac"
    else:
        assert queue.take(2) == "ac"
        assert sorted(queue.take(2)) == ["a", "b"]
        assert sorted(queue.take(2)) == ["a", "b"]
    queue.assert_remembers_nobody()


def test_a_delayed_entry_makes_room_too():
    queue = Queue(QueuePolicy(max_queue_size=3, timeout_action=TimeoutAction.DELAY))
    for _ in range(3):
        queue.put("a", expires_ns=50)
    queue.queue.end_overdue(50)
    queue.put("b")
    assert len(queue.displaced) == 1
    assert queue.take(1) + queue.take(3) == "baa"
    queue.assert_remembers_nobody()


def test_draining_leaves_nobody_behind():
    queue = Queue()
    entries = [queue.put(caller, line=line) for caller, line in zip("aabbcc", "xyxyxy")]
    assert set(queue.queue.drain()) == set(entries)
    queue.assert_remembers_nobody()


def test_callers_who_come_and_go_are_forgotten_while_one_stays():
    queue = Queue()
    for number in range(300):
        queue.put_all("aa")
        queue.put(f"b{number}", size=3)
        while not queue.take().startswith("b"):
            pass
    assert len(queue.queue._levels[0].standings.by_key) < 10
    while queue.take():
        pass
    queue.assert_remembers_nobody()
