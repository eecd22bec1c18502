"""A comparison as a picture for a terminal: bars, figures, and the worst examples."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate
from math import floor, log10
from typing import Any
from unicodedata import combining, east_asian_width

from headrace.logs.format import escape
from headrace.logs.table import Table
from headrace.rollout.comparison.spread import Scale

Document = Mapping[str, Any]

LEAST_WIDTH = 40
SHOWN_EXAMPLES = 5
SHOWN_VALUES = 4

# Narrower than this, fewer columns are shown.
WIDE = 70
_COLUMNS = {"MEAN": "mean", "P50": "p50", "P95": "p95", "P99": "p99", "MAX": "most"}
_NARROW_COLUMNS = {"P50": "p50", "P99": "p99"}

_EIGHTHS = " ▏▎▍▌▋▊▉█"


@dataclass(frozen=True, slots=True)
class Style:
    """How wide, and whether with characters that every terminal has."""

    width: int
    is_ascii: bool

    def bar(self, share: float, width: int) -> str:
        """`share`, 0 to 1, of `width` places; what is not nothing shows."""
        if self.is_ascii:
            filled = round(share * width) or int(share > 0)
            return "#" * min(width, filled)
        eighths = round(share * width * 8) or int(share > 0)
        full, rest = divmod(min(eighths, width * 8), 8)
        return "█" * full + (_EIGHTHS[rest] if rest else "")

    def text(self, text: str) -> str:
        """One line that is not too long, without what a terminal would act on."""
        line = escape(text)
        if self.is_ascii:
            line = line.replace("µ", "u").replace("–", "-").encode("ascii", "replace").decode()
        return line if _places(line) <= self.width else f"{_cut(line, self.width - 3)}..."


def report(document: Document, width: int = 80, *, is_ascii: bool = False) -> str:
    """What `Comparison.to_document` has, in lines of at most `width` places (40 at least)."""
    style = Style(max(LEAST_WIDTH, width), is_ascii)
    parts = [_head(document), _agreement(document, style)]
    parts += [_output(name, output, style) for name, output in document["outputs"].items()]
    parts += [_latency(document["latency"], style), _errors(document), _worst(document["worst"])]
    return "\n\n".join("\n".join(map(style.text, part)) for part in map(list, parts) if part)


def _head(document: Document) -> Iterator[str]:
    yield f"{document['model']}: version {document['live_version']} and shadow {document['shadow_version']}"
    if document["first_at_ns"]:
        yield f"{_moment(document['first_at_ns'])} to {_moment(document['last_at_ns'])}"


def _agreement(document: Document, style: Style) -> Iterator[str]:
    pairs, disagreeing = document["pairs"], document["disagreeing"]
    if not pairs:
        yield "no pairs were compared"
    else:
        share = 1 - disagreeing / pairs
        label = f"agree {100 * _never_rounded_up(share):.2f}%"
        room = style.width - len(label) - 4
        yield f"{label}  [{style.bar(share, room):{room}}]"
        yield f"{pairs:,} pairs, {disagreeing:,} disagree"
    if document["errors"]["refused"]:
        yield f"{document['errors']['refused']:,} copies more were refused by the shadow"


def _output(name: str, output: Document, style: Style) -> Iterator[str]:
    counts = output["counts"]
    kinds = ", ".join(output["kinds"])
    yield f"output {name} ({kinds}): {counts.get('disagreeing', 0):,} of {counts.get('pairs', 0):,} disagree"
    for key, what in (
        ("argmax_differs", "have another best class"),
        ("label_differs", "have another label"),
        ("broken", "have NaN or infinity on one side only"),
        ("unlike", "lack it on one side, or have another shape or datatype"),
    ):
        if counts.get(key):
            yield f"  {counts[key]:,} {what}"
    if set(output["kinds"]) <= {"labels", "unlike"} and not output["max_absolute"]:
        return
    for key in ("absolute", "relative"):
        mean, most = _number(output[f"mean_{key}"]), _number(output[f"max_{key}"])
        yield f"  {key} difference  mean {mean}  max {most}"
    yield from _histogram(output["spread"], style)


def _histogram(spread: Document, style: Style) -> Iterator[str]:
    """The largest absolute difference of each pair, a line a power of ten."""
    scale = Scale(spread["lowest"], spread["decades"], spread["per_decade"])
    decades: dict[int, int] = {}
    for index, count in spread["bins"]:
        exponent = floor(log10(scale.lowest) + index / scale.per_decade + 1e-9)
        decades[exponent] = decades.get(exponent, 0) + count
    lines = [(f"below {scale.lowest:.0e}", spread["below"])] if spread["below"] else []
    if decades:
        exponents = range(min(decades), max(decades) + 1)
        lines += [(f"1e{exponent:+03d}", decades.get(exponent, 0)) for exponent in exponents]
    lines += [("above", spread["above"])] if spread["above"] else []
    yield from _bars(lines, style)


def _bars(lines: Sequence[tuple[str, int]], style: Style) -> Iterator[str]:
    """A bar a line, the longest for the largest count."""
    most = max((count for _, count in lines), default=0)
    if not most:
        return
    title_width = max(len(title) for title, _ in lines)
    count_width = max(len(f"{count:,}") for _, count in lines)
    room = max(1, style.width - title_width - count_width - 6)
    for title, count in lines:
        yield f"  {title:>{title_width}}  {count:>{count_width},}  {style.bar(count / most, room)}".rstrip()


def _latency(latency: Document, style: Style) -> Iterator[str]:
    columns = _COLUMNS if style.width >= WIDE else _NARROW_COLUMNS
    rows = [
        (f"{title}, {side}", *(_duration(latency[key][side][column]) for column in columns.values()))
        for title, key in (("to the answer", "total"), ("execution", "execution"))
        for side in ("live", "shadow")
        if latency[key][side]["count"]
    ]
    if not rows:
        return
    yield from Table(("LATENCY", *columns), columns).format(rows).split("\n")
    difference = latency["total"]["difference"]
    least, median, most = (_signed(difference[key]) for key in ("p5", "p50", "p95"))
    yield f"shadow - live: median {median}, {least} (p5) to {most} (p95)"
    executions = latency["execution"]["live"]["count"]
    if executions:
        live, shadow = latency["live_rows"] / executions, latency["shadow_rows"] / executions
        yield f"rows in a batch: {live:.1f} live, {shadow:.1f} shadow"
    yield from _beside(latency["total"], style)


def _beside(total: Document, style: Style) -> Iterator[str]:
    """How the times to the answer are spread: both versions' bars, side by side."""
    live, shadow = _by_step(total["live"]), _by_step(total["shadow"])
    steps = sorted({*live, *shadow})
    if not steps:
        return
    room = max(4, (style.width - 14) // 2)
    most = max([*live.values(), *shadow.values()])
    yield f"{'':10}  {'live':{room}}  shadow"
    for step in range(steps[0], steps[-1] + 1):
        ours = style.bar(live.get(step, 0) / most, room)
        theirs = style.bar(shadow.get(step, 0) / most, room)
        yield f"{_duration(_step_ns(step)):>10}  {ours:{room}}  {theirs}".rstrip()


def _by_step(spread: Document) -> dict[int, int]:
    """Counts by thirds of a power of ten, of nanoseconds."""
    scale = Scale(spread["lowest"], spread["decades"], spread["per_decade"])
    steps: dict[int, int] = {}
    for index, count in spread["bins"]:
        step = floor(3 * log10(scale.middle(index)))
        steps[step] = steps.get(step, 0) + count
    return steps


def _step_ns(step: int) -> float:
    return float(10.0 ** (step / 3))


def _errors(document: Document) -> Iterator[str]:
    for kind, what in (
        ("live_only", "failed live only"),
        ("shadow_only", "failed in the shadow only"),
        ("both", "failed in both"),
        ("refused", "refused by the shadow"),
    ):
        count = document["errors"][kind]
        if count:
            yield f"{count:,} {what}, the last:"
            for example in document["error_examples"][kind]:
                yield f"  {example['error']}: {example['message']}"


def _worst(worst: Sequence[Document]) -> Iterator[str]:
    if not worst:
        return
    yield f"the worst {min(len(worst), SHOWN_EXAMPLES)} of {len(worst)} kept examples:"
    for example in worst[:SHOWN_EXAMPLES]:
        difference = example["difference"]
        size = "not comparable" if difference is None else f"relative difference {_number(difference)}"
        verdict = "disagrees" if example["disagrees"] else "agrees"
        yield f"  {verdict}, {size}"
        yield f"    {_moment(example['at_ns'])}, request {example['request_id'] or 'without id'}"
        for tensors, side in ((example["live"], "live  "), (example["shadow"], "shadow")):
            yield f"    {side} {_values(tensors)}"


def _values(tensors: Iterable[Document]) -> str:
    return "; ".join(f"{tensor['name']} {_listed(tensor['values'])}" for tensor in tensors)


def _listed(values: Sequence[Any]) -> str:
    shown = [_number(value) if isinstance(value, float) else str(value) for value in values[:SHOWN_VALUES]]
    return f"[{', '.join([*shown, '...'] if len(values) > SHOWN_VALUES else shown)}]"


def _never_rounded_up(share: float) -> float:
    """In steps of a hundredth of a per cent; all only where it is all."""
    return floor(share * 10_000) / 10_000


def _number(value: float) -> str:
    return f"{value:.3g}"


def _signed(nanoseconds: float) -> str:
    return f"{'-' if nanoseconds < 0 else '+'}{_duration(abs(nanoseconds))}"


def _duration(nanoseconds: float) -> str:
    microseconds = nanoseconds / 1000
    if microseconds < 1000:
        return f"{microseconds:.0f} µs"
    if microseconds < 1_000_000:
        return f"{microseconds / 1000:.1f} ms"
    return f"{microseconds / 1_000_000:.2f} s"


def _places(text: str) -> int:
    """How many places `text` takes on a terminal."""
    return len(text) if text.isascii() else sum(map(_width, text))


def _cut(text: str, width: int) -> str:
    """As much of `text` as `width` places show."""
    ends = accumulate(map(_width, text))
    return "".join(character for character, end in zip(text, ends, strict=True) if end <= width)


def _width(character: str) -> int:
    return 0 if combining(character) else 1 + (east_asian_width(character) in "WF")


def _moment(epoch_ns: int) -> str:
    return datetime.fromtimestamp(epoch_ns / 1e9).isoformat(sep=" ", timespec="seconds")
