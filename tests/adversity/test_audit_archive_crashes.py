"""Archives of the audit log that are killed, at whatever point: nothing is lost, and the next run goes on."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from headrace.security.audit.chain import verify
from headrace.security.audit.export import read_file
from support.auditing import anchor, archive, event, records, row_count, started, wait_until, write_aged

TESTS = Path(__file__).parents[1]
COUNT = 1000
# Of the time that a whole archive takes: into its writing, its checking and its removal.
SHARES = (0.0, 0.2, 0.4, 0.6, 0.75, 0.85, 0.95, 1.05)

# In small steps, so that there is much to be interrupted.
SLOW_ARCHIVE = """
import sys, time
from pathlib import Path
from headrace.core.caller import Caller
from headrace.security.audit import archive, reader
from support.auditing import ago

archive.PAGE_SIZE = reader.PAGE_SIZE = 50
archiver = archive.Archiver(Path(sys.argv[1]), Caller("bob"), lambda: time.sleep(0.004))
print("ready", flush=True)
archiver.archive(ago(1), lambda first, last: Path(sys.argv[2]))
print("done", flush=True)
"""


def run_for(delay_s: float | None, folder: Path, file: Path) -> tuple[bool, float]:
    """Kills an archive after `delay_s`, or never; whether it was done, and after how many seconds."""
    command = [sys.executable, "-c", SLOW_ARCHIVE, str(folder), str(file)]
    with subprocess.Popen(command, cwd=TESTS, stdout=subprocess.PIPE, text=True) as archiving:
        assert archiving.stdout is not None
        assert archiving.stdout.readline() == "ready\n"
        began = time.monotonic()
        if delay_s is not None:
            time.sleep(delay_s)
            archiving.kill()
        return archiving.stdout.read() == "done\n", time.monotonic() - began


def archived(file: Path) -> list[Any]:
    return list(read_file(file)) if file.exists() else []


def test_an_archive_may_be_killed_at_any_time(tmp_path: Path) -> None:
    write_aged(tmp_path / "other", COUNT, days=2)
    _, whole_s = run_for(None, tmp_path / "other", tmp_path / "other.jsonl.gz")
    folder, file = tmp_path / "state", tmp_path / "audit.jsonl.gz"
    write_aged(folder, COUNT, days=2)
    whole = records(folder)
    interrupted_count = 0
    for share in SHARES:
        is_done, _ = run_for(share * whole_s, folder, file)
        interrupted_count += not is_done
        # A file that has its name is whole, and what has left the log is in it.
        found, left = archived(file), records(folder)
        assert found in ([], whole)
        assert left[0]["sequence"] == anchor(folder).sequence + 1
        both = {record["sequence"]: record for record in [*left, *found]}
        assert [both[number] for number in range(1, COUNT + 1)] == whole
        assert verify(both[number] for number in sorted(both)).problem == ""
    assert interrupted_count > 0

    archive(folder, file, days=1)
    assert archived(file) == whole
    assert row_count(folder) == len(records(folder)) == 1
    assert verify([*archived(file), *records(folder)]).count == COUNT + 1


def test_a_log_is_written_while_an_archive_is_killed_and_made_again(tmp_path: Path) -> None:
    folder, file = tmp_path / "state", tmp_path / "audit.jsonl.gz"
    write_aged(folder, COUNT, days=2)
    recorded = 0
    with started(folder) as log:
        for delay_s in (0.05, 0.1, 0.2, 0.3, None):
            log.record(event())
            recorded += 1
            if run_for(delay_s, folder, file)[0]:
                break
        wait_until(lambda: log.recorded_count == recorded)
        assert log.lost_count == 0

    archive(folder, file, days=1)
    assert verify([*archived(file), *records(folder)]).count == COUNT + recorded + 1
