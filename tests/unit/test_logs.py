"""Log lines: their looks, what is written, and how many of one cause."""

import io
import json
import logging
import re
import warnings

import pytest

from headrace.errors import InvalidArgument
from headrace.logs import LogControl, RateLimit, escape
from headrace.logs.table import Table
from headrace.settings import LogFormat, LogLevel, LogSettings

LOGGER = logging.getLogger("headrace.test")


@pytest.fixture
def start():
    controls: list[LogControl] = []

    def start_log(**settings: object) -> tuple[LogControl, io.StringIO]:
        stream = io.StringIO()
        control = LogControl(LogSettings(**settings), stream)  # type: ignore[arg-type]
        control.start()
        controls.append(control)
        return control, stream

    yield start_log
    for control in controls:
        control.stop()


def write_one_of_each():
    LOGGER.debug("debug line")
    LOGGER.info("info line")
    LOGGER.warning("warning line")
    LOGGER.error("error line")


def words(stream: io.StringIO) -> list[str]:
    return [line.split()[-2] for line in stream.getvalue().splitlines()]


def test_text_line_has_time_level_and_message(start):
    _, stream = start()
    LOGGER.info("loaded %s", "digits")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z info    loaded digits\n", stream.getvalue())


def test_json_line_is_one_object(start):
    _, stream = start(format=LogFormat.JSON)
    LOGGER.warning('say "%s"', "a\nb")
    line = json.loads(stream.getvalue())
    assert stream.getvalue().count("\n") == 1
    assert line.pop("time").endswith("Z")
    assert line == {"level": "warning", "logger": "headrace.test", "message": 'say "a\nb"'}


def test_control_characters_cannot_make_lines_of_their_own(start):
    _, stream = start()
    LOGGER.info("name %s", "x\n2020-01-01T00:00:00.000Z info forged\r\x1b[31m\x9b\u2028\u202e")
    assert stream.getvalue().count("\n") == 1
    assert r"x\n2020-01-01T00:00:00.000Z info forged\r\x1b[31m\x9b\u2028\u202e" in stream.getvalue()
    assert escape("grün 日本") == "grün 日本"


def test_traceback_follows_in_indented_lines(start):
    _, stream = start()
    try:
        raise ValueError("first\nsecond")
    except ValueError:
        LOGGER.exception("failed")
    first, *rest = stream.getvalue().splitlines()
    assert first.endswith("error   failed")
    assert rest
    assert all(line.startswith("    ") for line in rest)


def test_traceback_is_a_member_of_the_json_object(start):
    _, stream = start(format=LogFormat.JSON)
    try:
        raise ValueError("why")
    except ValueError:
        LOGGER.exception("failed")
    assert "ValueError: why" in json.loads(stream.getvalue())["exception"]


@pytest.mark.parametrize(
    ("settings", "written"),
    [
        ({}, ["info", "warning", "error"]),
        ({"verbose_level": 1}, ["debug", "info", "warning", "error"]),
        ({"level": LogLevel.WARNING}, ["warning", "error"]),
        ({"level": LogLevel.ERROR}, ["error"]),
    ],
)
def test_level_says_which_lines_are_written(start, settings, written):
    _, stream = start(**settings)
    write_one_of_each()
    assert words(stream) == written


@pytest.mark.parametrize(
    ("updates", "written"),
    [
        ({"log_info": False}, ["warning", "error"]),
        ({"log_warning": False}, ["info", "error"]),
        ({"log_error": False}, ["info", "warning"]),
        ({"log_verbose_level": 2}, ["debug", "info", "warning", "error"]),
        ({"log_info": False, "log_warning": False, "log_error": False}, []),
        ({}, ["info", "warning", "error"]),
    ],
)
def test_each_kind_of_line_can_be_switched_at_run_time(start, updates, written):
    control, stream = start()
    control.update(updates)
    write_one_of_each()
    assert words(stream) == written
    assert {**control.current(), **updates} == control.current()


def test_current_has_tritons_keys(start):
    control, _ = start(level=LogLevel.WARNING, verbose_level=3)
    assert control.current() == {
        "log_file": "",
        "log_info": False,
        "log_warning": True,
        "log_error": True,
        "log_verbose_level": 3,
        "log_format": "ISO8601",
    }


def test_default_format_begins_a_line_as_triton_does(start):
    control, stream = start()
    control.update({"log_format": "default"})
    LOGGER.warning("careful")
    assert re.fullmatch(r"W\d{4} \d\d:\d\d:\d\d\.\d{6} \d+ headrace\.test\] careful\n", stream.getvalue())


@pytest.mark.parametrize(
    ("updates", "reason"),
    [
        ({"log_colour": True}, "'log_colour' is unknown: expected one of log_file"),
        ({"log_info": 1}, "'log_info' is 1: expected a value of type bool"),
        ({"log_verbose_level": True}, "'log_verbose_level' is True: expected a value of type int"),
        ({"log_format": "fancy"}, "'log_format' is 'fancy': expected default or ISO8601"),
        ({"log_file": "/etc/passwd"}, "'log_file' cannot be changed"),
    ],
)
def test_wrong_update_is_refused_as_a_whole(start, updates, reason):
    control, _ = start()
    before = control.current()
    with pytest.raises(InvalidArgument, match=reason):
        control.update({"log_warning": False, **updates})
    assert control.current() == before


def test_others_are_heard_from_warnings_up(start):
    _, stream = start(verbose_level=1)
    other = logging.getLogger("somebody.else")
    other.info("quiet note")
    other.warning("loud note")
    assert words(stream) == ["loud"]


def test_nothing_is_written_after_stop(start):
    control, stream = start()
    control.stop()
    LOGGER.critical("late line")
    assert stream.getvalue() == ""


def test_python_warnings_are_logged(start):
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        _, stream = start()
        warnings.warn("take care", UserWarning, stacklevel=1)
        assert "take care" in stream.getvalue()


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def limited():
    """A logger of its own whose lines pass a limit of two a second, on a clock that the test sets."""
    clock, stream = Clock(), io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(RateLimit(lines_per_second=2, clock=clock))
    logger = logging.Logger("limited")
    logger.addHandler(handler)
    return logger, clock, stream


def test_one_cause_gets_its_lines_and_then_a_count(limited):
    logger, clock, stream = limited
    for number in range(6):
        if number == 5:
            clock.now = 1.0
        logger.warning("full %d", number)
    assert stream.getvalue().splitlines() == ["full 0", "full 1", "full 5 (and 3 more like it)"]


def test_causes_do_not_silence_each_other(limited):
    logger, _, stream = limited
    for _ in range(3):
        logger.warning("one")
    logger.warning("another")
    assert stream.getvalue().splitlines() == ["one", "one", "another"]


def test_number_of_causes_is_bounded():
    limit = RateLimit()
    for number in range(5000):
        limit.filter(logging.LogRecord("x", logging.INFO, "", number, "line", None, None))
    assert len(limit._windows) <= 1024


def test_table_aligns_texts_left_and_numbers_right():
    table = Table(("NAME", "ROWS"), ("ROWS",))
    assert table.format([("digits", 5), ("日本", 128)]).splitlines() == [
        "NAME    ROWS",
        "digits     5",
        "日本     128",
    ]


def test_table_escapes_what_a_terminal_would_obey():
    assert Table(("A",)).lines([("\x1b[2J\n",)]) == [r"\x1b[2J\n"]


def test_table_lines_of_a_later_call_stand_below_the_first():
    table = Table(("A", "B"))
    table.lines([("long text", "x")])
    assert table.lines([("s", "y")]) == ["s          y"]
