"""Commands as an operator types them, run in this process."""

import json
from typing import Any

import pytest

from headrace.cli.main import main


class Ran:
    """What a command did."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status = status
        self.out = out
        self.err = err

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def records(self) -> list[dict[str, Any]]:
        """One a line."""
        return [json.loads(line) for line in self.out.split("\n")[:-1]]


def run_command(capsys: pytest.CaptureFixture[str], *words: object) -> Ran:
    """`headrace`, followed by `words`."""
    try:
        status = main([str(word) for word in words])
    except SystemExit as ended:
        status = int(ended.code or 0)
    captured = capsys.readouterr()
    return Ran(status, captured.out, captured.err)
