"""The process's log output: started once, switched while the server runs."""

import logging
import sys
from collections.abc import Mapping
from typing import IO, ClassVar, TypeAlias

from headrace.errors import InvalidArgument
from headrace.logs.format import JsonFormatter, TextFormatter, TimeFormat
from headrace.logs.limit import RateLimit
from headrace.settings import LogFormat, LogLevel, LogSettings

LogValue: TypeAlias = bool | int | str

ROOT_LOGGER = "headrace"


class LogControl:
    """Owns the process's log output, and switches it while the server runs, with Triton's keys.

    `log_info`, `log_warning` and `log_error` are booleans, `log_verbose_level` above 0 adds lines for
    debugging, `log_format` is `default` or `ISO8601`; `log_file` can be read, not written.
    """

    _KINDS: ClassVar[Mapping[str, type]] = {
        "log_file": str,
        "log_info": bool,
        "log_warning": bool,
        "log_error": bool,
        "log_verbose_level": int,
        "log_format": str,
    }

    def __init__(self, settings: LogSettings, stream: IO[str] | None = None) -> None:
        level = settings.level
        self._values: dict[str, LogValue] = {
            "log_file": "",
            "log_info": level is LogLevel.INFO,
            "log_warning": level in (LogLevel.INFO, LogLevel.WARNING),
            "log_error": True,
            "log_verbose_level": settings.verbose_level,
            "log_format": TimeFormat.ISO8601.value,
        }
        self._text = TextFormatter()
        self._handler = logging.StreamHandler(stream or sys.stderr)
        self._handler.setFormatter(JsonFormatter() if settings.format is LogFormat.JSON else self._text)
        self._handler.addFilter(self._is_on)
        self._handler.addFilter(RateLimit())

    def start(self) -> None:
        """From here on, log lines are written: those of headrace as switched, of others from warnings up."""
        logging.getLogger().addHandler(self._handler)
        logging.captureWarnings(True)
        self._apply()

    def stop(self) -> None:
        logging.captureWarnings(False)
        logging.getLogger().removeHandler(self._handler)
        logging.getLogger(ROOT_LOGGER).setLevel(logging.NOTSET)

    def update(self, updates: Mapping[str, LogValue]) -> None:
        """Switches all of `updates`, or, with InvalidArgument, none."""
        for key, value in updates.items():
            self._check(key, value)
        self._values.update(updates)
        self._apply()

    def current(self) -> Mapping[str, LogValue]:
        """Every key with its value."""
        return dict(self._values)

    def _check(self, key: str, value: LogValue) -> None:
        kind = self._KINDS.get(key)
        if kind is None:
            raise InvalidArgument(f"log setting {key!r} is unknown: expected one of {', '.join(self._KINDS)}")
        if key == "log_file":
            raise InvalidArgument("log setting 'log_file' cannot be changed while the server runs")
        if type(value) is not kind:
            raise InvalidArgument(
                f"log setting {key!r} is {value!r}: expected a value of type {kind.__name__}"
            )
        if key == "log_format" and value not in tuple(TimeFormat):
            raise InvalidArgument(f"log setting {key!r} is {value!r}: expected {' or '.join(TimeFormat)}")

    def _apply(self) -> None:
        self._text.time_format = TimeFormat(str(self._values["log_format"]))
        logging.getLogger(ROOT_LOGGER).setLevel(self._lowest_level())

    def _lowest_level(self) -> int:
        """What is below costs one comparison, as nothing is made of it."""
        for level, key in (
            (logging.DEBUG, "log_verbose_level"),
            (logging.INFO, "log_info"),
            (logging.WARNING, "log_warning"),
        ):
            if self._values[key]:
                return level
        return logging.ERROR

    def _is_on(self, record: logging.LogRecord) -> bool:
        if record.levelno >= logging.ERROR:
            return bool(self._values["log_error"])
        if record.levelno >= logging.WARNING:
            return bool(self._values["log_warning"])
        if record.levelno >= logging.INFO:
            return bool(self._values["log_info"])
        return bool(self._values["log_verbose_level"])
