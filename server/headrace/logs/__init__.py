"""Log lines: how they look, which are written, and how many of one cause."""

from headrace.logs.control import LogControl, LogValue
from headrace.logs.format import escape
from headrace.logs.limit import RateLimit

__all__ = ["LogControl", "LogValue", "RateLimit", "escape"]
