"""Shared by the tests under adversity: an empty repository for each, and the server's log where one fails."""

from collections.abc import Generator
from pathlib import Path

import pytest

from support.server import ServerProcess


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    folder.mkdir()
    return folder


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Function, call: "pytest.CallInfo[None]"
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed and call.when == "call":
        for given in item.funcargs.values():
            for each in given if isinstance(given, tuple) else (given,):
                if isinstance(each, ServerProcess):
                    report.sections.append(("the server's log, its end", each.log[-10_000:]))
    return report
