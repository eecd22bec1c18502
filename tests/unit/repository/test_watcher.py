"""The watcher: settled scans as the repository changes, on a clock of the test's own."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from onnx_graphs import write_model
from test_settling import numbers, scan

from headrace.errors import ConfigError
from headrace.repository.changes import FileChanges
from headrace.repository.files.scan import Scan
from headrace.repository.repository import Repository
from headrace.repository.settling import Settling
from headrace.repository.watcher import Watcher


class Finished(Exception):
    """The script of a test has come to its end."""


class Script:
    """A repository that looks as a test says, one look for each time the watcher waits."""

    def __init__(self, looks: Sequence[Scan | Exception]) -> None:
        self.now_s = 0.0
        self.waits: list[float] = []
        self._looks = list(looks)

    def scan(self) -> Scan:
        if not self._looks:
            raise Finished
        look = self._looks.pop(0)
        if isinstance(look, Exception):
            raise look
        return look

    async def wait(self, timeout_s: float) -> None:
        self.waits.append(timeout_s)
        self.now_s += timeout_s


def watch(script: Script, known: Scan | None = None) -> list[dict[str, tuple[int, ...]]]:
    """What the watcher yields until the script ends."""
    watcher = Watcher(
        script, script, Settling(2.0, settled=known), interval_s=15.0, clock=lambda: script.now_s
    )

    async def gather() -> list[dict[str, tuple[int, ...]]]:
        seen: list[dict[str, tuple[int, ...]]] = []
        try:
            async for settled in watcher.settled(known):
                seen.append(numbers(settled))
        except Finished:
            return seen
        raise AssertionError

    return asyncio.run(gather())


def test_nothing_is_reported_while_nothing_changes() -> None:
    script = Script([scan(v1=5)] * 3)
    assert watch(script, known=scan(v1=5)) == []
    assert script.waits == [15.0] * 3


def test_a_change_is_reported_once_when_it_has_settled() -> None:
    script = Script([scan(v1=5), scan(v1=5, v2=1), scan(v1=5, v2=2), scan(v1=5, v2=2), scan(v1=5, v2=2)])
    assert watch(script, known=scan(v1=5)) == [{"m": (1, 2)}]
    assert script.waits == [15.0, 2.0, 2.0, 15.0, 15.0]


def test_without_anything_known_the_first_settled_scan_is_reported() -> None:
    assert watch(Script([scan(v1=5), scan(v1=5)])) == [{"m": (1,)}]


def test_a_repository_that_is_gone_is_not_an_empty_one(caplog: pytest.LogCaptureFixture) -> None:
    gone = ConfigError("model repository '/models' does not exist")
    script = Script([gone, gone, gone, scan(v1=5, v2=5), scan(v1=5, v2=5)])
    with caplog.at_level(logging.WARNING):
        assert watch(script, known=scan(v1=5)) == [{"m": (1, 2)}]
    assert [record.getMessage() for record in caplog.records] == [
        "model repository '/models' does not exist; what is loaded stays loaded",
        "the model repository is back",
    ]


def run_for_real(path: Path, change: Callable[[], object], *, notified: bool) -> Scan:
    """The first settled scan after `change`, from the real file system."""

    async def first() -> Scan:
        repository = Repository(path)
        changes = FileChanges(path)
        known = repository.scan()
        if notified:
            changes.start()
        interval_s = 30.0 if notified else 0.05
        watcher = Watcher(repository, changes, Settling(0.1, settled=known), interval_s=interval_s)
        settled = watcher.settled(known)
        try:
            pending = asyncio.ensure_future(anext(settled))
            # The listener has no sign of its own for being ready, so the change is repeated until it is seen.
            while not (await asyncio.wait([pending], timeout=0.3))[0]:
                change()
            return pending.result()
        finally:
            await settled.aclose()
            await changes.stop()

    return asyncio.run(asyncio.wait_for(first(), 20))


@pytest.mark.parametrize("notified", [True, False])
def test_a_new_version_on_disk_is_noticed(tmp_path: Path, notified: bool) -> None:
    write_model(tmp_path)
    added = iter(range(2, 100))
    found = run_for_real(tmp_path, lambda: write_model(tmp_path, version=next(added)), notified=notified)
    assert found.models["m"].numbers[:2] == (1, 2)


def test_changes_of_a_missing_folder_are_waited_for(tmp_path: Path) -> None:
    async def wait() -> None:
        changes = FileChanges(tmp_path / "none")
        changes.start()
        await changes.wait(0.1)
        await changes.stop()

    asyncio.run(wait())
