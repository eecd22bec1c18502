"""Puts a rollout's model and versions into a query."""

import re

_PLACEHOLDER = re.compile(r"\$(model|canary|stable)\b")
_UNSAFE = re.compile(r"[^\w.:-]")


def substitute(query: str, model: str, canary: int, stable: int) -> str:
    """`query` with `$model`, `$canary` and `$stable` replaced.

    What could end a string of PromQL is written as an escape that means the same in either kind of quotes,
    and nothing outside of them (prometheus.io/docs/prometheus/latest/querying/basics/#string-literals).
    """
    values = {"model": _UNSAFE.sub(_escape, model), "canary": str(canary), "stable": str(stable)}
    return _PLACEHOLDER.sub(lambda match: values[match[1]], query)


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
