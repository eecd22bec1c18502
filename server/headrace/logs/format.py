"""How a log line looks: a line of text, or one JSON object."""

import json
import logging
import os
from datetime import UTC, datetime
from enum import StrEnum

# What a terminal or a reader of lines would act on: C0 and C1 controls, line separators, text direction.
_ESCAPES = {
    code: chr(code).encode("unicode_escape").decode()
    for code in (
        *range(0x20),
        *range(0x7F, 0xA0),
        0x061C,
        0x200E,
        0x200F,
        *range(0x2028, 0x202F),
        *range(0x2066, 0x206A),
    )
}


def escape(text: str) -> str:
    """`text` in one line, without control characters: what a caller sent writes no log lines of its own."""
    return text.translate(_ESCAPES)


class TimeFormat(StrEnum):
    """How a text line begins, in the words of Triton's `log_format`."""

    DEFAULT = "default"
    ISO8601 = "ISO8601"


class TextFormatter(logging.Formatter):
    """One line a record; a traceback follows in indented lines."""

    def __init__(self) -> None:
        super().__init__()
        self.time_format = TimeFormat.ISO8601

    def format(self, record: logging.LogRecord) -> str:
        line = f"{self._head(record)} {escape(record.getMessage())}"
        if record.exc_info:
            trace = self.formatException(record.exc_info)
            line += "".join(f"\n    {escape(part)}" for part in trace.split("\n"))
        return line

    def _head(self, record: logging.LogRecord) -> str:
        if self.time_format is TimeFormat.ISO8601:
            return f"{_iso_time(record)} {record.levelname.lower():<7}"
        at = datetime.fromtimestamp(record.created, UTC)
        return f"{record.levelname[0]}{at:%m%d %H:%M:%S.%f} {os.getpid()} {record.name}]"


class JsonFormatter(logging.Formatter):
    """One JSON object a record: time, level, logger, message, and exception where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        members = {
            "time": _iso_time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            members["exception"] = self.formatException(record.exc_info)
        return json.dumps(members)


def _iso_time(record: logging.LogRecord) -> str:
    at = datetime.fromtimestamp(record.created, UTC).replace(tzinfo=None)
    return at.isoformat(timespec="milliseconds") + "Z"
