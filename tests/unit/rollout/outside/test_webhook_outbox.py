"""The outbox: deliveries that outlive the process, in the state database."""

import pytest

from headrace.rollout.outside.delivery import Delivery
from headrace.rollout.outside.outbox import KEEP_S, StoredOutbox
from headrace.state.database import open_database, transaction

A, B = "http://a.example/hook", "http://b.example/hook"


@pytest.fixture
def database(tmp_path):
    connection = open_database(tmp_path)
    yield connection
    connection.close()


@pytest.fixture
def outbox(database):
    return StoredOutbox(database)


def ids(database, state):
    query = "SELECT event_id FROM webhook_deliveries WHERE state = ? ORDER BY sequence"
    return [row[0] for row in database.execute(query, (state,))]


def test_an_event_waits_for_each_of_its_urls(outbox):
    outbox.add("e1", "started", "{}", [A, B], 100.0)
    outbox.add("e2", "promoted", "{}", [A], 101.0)

    assert outbox.pending(A) == Delivery("e1", "started", A, "{}", 100.0, 0, 0.0)
    outbox.delivered("e1", A, 102.0)
    assert outbox.pending(A).event_id == "e2"
    assert outbox.pending(B).event_id == "e1"


def test_an_event_is_kept_with_what_it_tells_of_or_not_at_all(database, outbox):
    with transaction(database):
        outbox.add("e1", "started", "{}", [A], 100.0)
    with pytest.raises(KeyError), transaction(database):
        outbox.add("e2", "done", "{}", [A], 100.0)
        raise KeyError

    assert ids(database, "pending") == ["e1"]


def test_without_a_transaction_of_the_callers_all_urls_are_added_or_none(database, outbox):
    with pytest.raises(Exception, match="NOT NULL"):
        outbox.add("e1", "started", "{}", [A, None], 100.0)

    assert ids(database, "pending") == []
    assert not database.in_transaction


def test_an_event_is_added_once(outbox):
    outbox.add("e1", "started", "{}", [A], 100.0)
    outbox.delivered("e1", A, 101.0)
    outbox.add("e1", "started", "{}", [A], 102.0)

    assert outbox.pending(A) is None


def test_a_failure_counts_and_says_when_it_is_tried_again(database, outbox):
    outbox.add("e1", "started", "{}", [A], 100.0)
    outbox.failed("e1", A, 110.0, "status 500")
    outbox.failed("e1", A, 130.0, "status 502")

    assert outbox.pending(A) == Delivery("e1", "started", A, "{}", 100.0, 2, 130.0)
    assert database.execute("SELECT reason FROM webhook_deliveries").fetchone() == ("status 502",)


def test_what_is_given_up_says_why(database, outbox):
    outbox.add("e1", "started", "{}", [A], 100.0)
    outbox.given_up("e1", A, "too old", 200.0)

    row = database.execute("SELECT state, reason, settled_at FROM webhook_deliveries").fetchone()
    assert row == ("given_up", "too old", 200.0)
    assert outbox.pending(A) is None


def test_urls_that_are_no_longer_set_are_given_up(database, outbox, caplog):
    outbox.add("e1", "started", "{}", [A, B], 100.0)
    outbox.keep_only([B], 101.0)

    assert outbox.pending(A) is None
    assert outbox.pending(B).event_id == "e1"
    assert "1 deliveries are given up" in caplog.text
    assert "a.example" not in caplog.text

    outbox.keep_only([], 102.0)
    assert ids(database, "pending") == []


def test_what_has_arrived_is_removed_after_a_week(database, outbox):
    for event_id in ("arrived", "given up", "waiting"):
        outbox.add(event_id, "started", "{}", [A], 0.0)
    outbox.delivered("arrived", A, 10.0)
    outbox.given_up("given up", A, "too old", 10.0)

    outbox.add("e1", "started", "{}", [A], KEEP_S + 9)
    assert ids(database, "delivered") == ["arrived"]
    outbox.add("e2", "started", "{}", [A], KEEP_S + 11)
    assert ids(database, "delivered") == ids(database, "given_up") == []
    assert ids(database, "pending") == ["waiting", "e1", "e2"]


def test_its_size_is_bounded_and_what_waits_goes_last(database, caplog):
    outbox = StoredOutbox(database, max_rows=3)
    for number in range(3):
        outbox.add(f"e{number}", "started", "{}", [A], 0.0)
    outbox.delivered("e1", A, 1.0)

    outbox.add("e3", "started", "{}", [A], 2.0)
    assert (ids(database, "delivered"), ids(database, "pending")) == ([], ["e0", "e2", "e3"])
    assert (outbox.dropped_count, caplog.text) == (0, "")

    outbox.add("e4", "started", "{}", [A], 3.0)
    assert ids(database, "pending") == ["e2", "e3", "e4"]
    assert outbox.dropped_count == 1
    assert "1 deliveries are given up, as more than 3 wait" in caplog.text


def test_a_database_that_cannot_be_used_is_an_os_error(tmp_path, outbox):
    outbox.add("e1", "started", "{}", [A], 100.0)
    other = StoredOutbox(open_database(tmp_path, busy_timeout_s=0.01))
    with transaction(outbox._connection), pytest.raises(OSError, match="database is locked"):
        other.delivered("e1", A, 101.0)
    other._connection.close()

    with pytest.raises(OSError, match="closed"):
        other.pending(A)
