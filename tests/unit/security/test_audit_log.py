"""The audit log while a server runs: what is written, what may be lost, and what nobody waits for."""

import asyncio
import logging
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from headrace.core.caller import Caller
from headrace.errors import ConfigError, Unavailable
from headrace.security.audit.chain import Head, verify
from headrace.security.audit.log import AuditLog, NoAuditLog
from headrace.security.audit.writer import MAX_WAITING
from headrace.settings import AuditSettings
from headrace.state.database import FILE_NAME
from support.auditing import REQUIRED, Clock, denial, event, held, records, started, wait_until, write
from support.loops import run

TESTS = Path(__file__).parents[2]

ODD = 'a"b\\c\n\x1b[31m\u202e\u2028é😀'


def models(folder):
    return [record["model"] for record in records(folder)]


@contextmanager
def busy(log, folder):
    """The writer has taken one event, and cannot write it until the end."""
    with held(folder):
        log.record(event(model="first"))
        wait_until(lambda: log._writer._queue.qsize() == 0)
        yield


def test_events_are_recorded_in_the_order_in_which_they_came(tmp_path):
    write(tmp_path, *(event(model=f"m{n}") for n in range(3000)))

    assert models(tmp_path) == [f"m{n}" for n in range(3000)]
    assert verify(records(tmp_path)).problem == ""


def test_a_new_server_goes_on_with_the_chain(tmp_path):
    write(tmp_path, event(model="a"))
    write(tmp_path, event(model="b"))

    assert models(tmp_path) == ["a", "b"]
    assert verify(records(tmp_path)).head.sequence == 2


def test_odd_names_are_recorded_as_they_are(tmp_path):
    write(tmp_path, event(caller=Caller(ODD), model=ODD, old={ODD: [ODD]}), event(model="a\0b\ud800"))

    first, second = records(tmp_path)
    assert (first["caller"], first["model"], first["old"]) == (ODD, ODD, {ODD: [ODD]})
    assert second["model"] == "a\\x00b\\ud800"
    assert verify([first, second]).problem == ""


def test_counts_are_of_what_was_recorded(tmp_path):
    with started(tmp_path) as log:
        for n in range(10):
            log.record(event(model=f"m{n}"))
        wait_until(lambda: log.recorded_count == 10)

    assert log.lost_count == 0


def test_the_servers_log_names_the_head_at_start_and_end(tmp_path, caplog):
    write(tmp_path, event(), event())
    caplog.clear()
    with caplog.at_level(logging.INFO):
        write(tmp_path, event())

    ends = [Head(record["sequence"], record["hash"]) for record in records(tmp_path)[1:]]
    assert caplog.messages == [
        f"audit log: 2 records, ends with {ends[0]}",
        f"audit log: 3 records, ends with {ends[1]}",
    ]


def test_a_flood_of_equal_denials_leaves_two_records(tmp_path):
    with started(tmp_path, clock=Clock()) as log:
        for _ in range(100_000):
            log.record(denial())

    assert [record["repeats"] for record in records(tmp_path)] == [0, 99_999]
    assert log.lost_count == 0


def test_a_flood_of_different_denials_leaves_few_records(tmp_path):
    with started(tmp_path, clock=Clock()) as log:
        for n in range(100_000):
            log.record(denial(f"m{n}"))

    found = records(tmp_path)
    assert [record["model"] for record in found] == [*(f"m{n}" for n in range(20)), ""]
    assert found[-1]["reason"] == "99980 more denials were not recorded one by one"
    assert log.lost_count == 0


def test_repeats_are_written_when_their_time_is_over(tmp_path):
    clock = Clock()
    with started(tmp_path, clock=clock) as log:
        log.record(denial())
        log.record(denial())
        wait_until(lambda: log.recorded_count == 1)
        clock.now += 10
        wait_until(lambda: log.recorded_count == 2)

        assert [record["repeats"] for record in records(tmp_path)] == [0, 1]


def test_record_now_returns_when_it_is_on_disk(tmp_path):
    async def main():
        with started(tmp_path, REQUIRED) as log:
            await log.record_now(event(model="a"))
            return models(tmp_path)

    assert run(main()) == ["a"]


def test_record_now_comes_after_what_was_recorded_before(tmp_path):
    async def main():
        with started(tmp_path) as log:
            for n in range(100):
                log.record(event(model=f"m{n}"))
            await log.record_now(event(model="now"))

    run(main())
    assert models(tmp_path) == [*(f"m{n}" for n in range(100)), "now"]


def test_what_is_required_and_cannot_be_recorded_is_refused(tmp_path):
    async def main():
        with started(tmp_path, REQUIRED, busy_timeout_s=0.1) as log:
            refusal = "'unload' cannot be recorded in the audit log"
            with held(tmp_path), pytest.raises(Unavailable, match=refusal):
                await log.record_now(event("unload"))
            await log.record_now(event("load"))
            return log.lost_count

    assert run(main()) == 1
    assert [record["action"] for record in records(tmp_path)] == ["audit_lost", "load"]


def test_what_is_not_required_goes_on_unrecorded(tmp_path):
    async def main():
        with started(tmp_path, busy_timeout_s=0.1) as log:
            with held(tmp_path):
                await log.record_now(event())
            return log.lost_count

    assert run(main()) == 1


def test_a_caller_who_does_not_wait_is_recorded_all_the_same(tmp_path):
    async def main():
        with started(tmp_path) as log:
            with held(tmp_path):
                waiting = asyncio.create_task(log.record_now(event(model="gone")))
                await asyncio.sleep(0.05)
                waiting.cancel()
                await asyncio.wait([waiting])
            await log.record_now(event(model="there"))

    run(main())
    assert models(tmp_path) == ["gone", "there"]


@pytest.mark.parametrize("settings", [REQUIRED, AuditSettings()], ids=["required", "not required"])
def test_nobody_waits_for_a_log_that_is_stopped(tmp_path, settings):
    with started(tmp_path, settings) as log:
        pass

    async def main():
        log.record(event())
        if settings.required:
            with pytest.raises(Unavailable):
                await log.record_now(event())
        else:
            await log.record_now(event())

    run(main())
    assert log.lost_count == 2
    assert records(tmp_path) == []


def test_a_lock_is_waited_for(tmp_path):
    with started(tmp_path, busy_timeout_s=5) as log:
        with held(tmp_path):
            log.record(event())
            time.sleep(0.3)
            assert log.recorded_count == 0
        wait_until(lambda: log.recorded_count == 1)

    assert log.lost_count == 0


def test_too_many_events_are_lost_and_counted_and_the_log_says_so(tmp_path, caplog):
    with started(tmp_path, busy_timeout_s=5) as log:
        with busy(log, tmp_path):
            for n in range(MAX_WAITING + 7):
                log.record(event(model=f"m{n}"))
        wait_until(lambda: log.recorded_count == MAX_WAITING + 1)

    assert log.lost_count == 7
    assert caplog.messages == [
        "the audit log cannot be written, 7 events are lost so far: 10000 wait already"
    ]
    gap = [record for record in records(tmp_path) if record["action"] == "audit_lost"]
    assert [(record["reason"], record["repeats"]) for record in gap] == [
        ("7 events could not be recorded", 7)
    ]
    assert verify(records(tmp_path)).problem == ""


def test_sampled_requests_are_the_first_to_be_lost(tmp_path):
    with started(tmp_path, busy_timeout_s=5) as log, busy(log, tmp_path):
        for n in range(MAX_WAITING):
            log.record(event("infer", model=f"m{n}"))
        for n in range(MAX_WAITING // 2):
            log.record(event("load", model=f"m{n}"))

    actions = [record["action"] for record in records(tmp_path)]
    assert (actions.count("infer"), actions.count("load")) == (MAX_WAITING // 2, MAX_WAITING // 2 + 1)
    assert log.lost_count == MAX_WAITING // 2


def test_two_processes_share_one_chain(tmp_path):
    script = (
        "import sys, time; from pathlib import Path; from support.auditing import event, started\n"
        "with started(Path(sys.argv[1])) as log:\n"
        "    for n in range(500):\n"
        "        log.record(event(sys.argv[2], version=str(n)))\n"
        "        time.sleep(0.0005)\n"
        "sys.exit(log.lost_count)\n"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", script, tmp_path, name], cwd=TESTS) for name in ("a", "b")
    ]
    assert [process.wait(60) for process in running] == [0, 0]

    found = records(tmp_path)
    assert verify(found).problem == ""
    for name in ("a", "b"):
        own = [record["version"] for record in found if record["action"] == name]
        assert own == [str(n) for n in range(500)]


@pytest.mark.parametrize("rate", [0.0, 0.001, 0.1, 0.3, 1 / 3, 0.75, 1.0])
def test_the_sampled_share_is_exact_over_any_window(tmp_path, rate):
    log = AuditLog(tmp_path, AuditSettings(inference_sample_rate=rate))
    sampled = [log.samples_inference() for _ in range(10_000)]

    for width in (1, 10, 1000):
        counts = [sum(sampled[at : at + width]) for at in range(0, 10_000, width)]
        assert all(abs(count - rate * width) < 1 for count in counts)
    assert sum(sampled) == int(rate * 10_000 + 1e-6)


def test_a_log_that_is_required_has_to_open(tmp_path):
    (tmp_path / FILE_NAME).write_text("no database, whatever its name" * 100)
    log = AuditLog(tmp_path, REQUIRED)

    with pytest.raises(ConfigError, match=rf"audit.required: .*{FILE_NAME} cannot be written"):
        log.start()
    log.stop()


def test_a_log_that_cannot_be_opened_is_warned_of_once(tmp_path, caplog):
    (tmp_path / FILE_NAME).write_text("no database, whatever its name" * 100)
    write(tmp_path)

    (message,) = caplog.messages
    assert "the audit log cannot be written, 0 events are lost so far: " in message
    assert FILE_NAME in message


def test_without_an_audit_log_nothing_is_recorded():
    log = NoAuditLog()
    log.start()
    log.record(event())
    run(log.record_now(event()))

    assert not log.samples_inference()
    assert (log.recorded_count, log.lost_count) == (0, 0)
    log.stop()
