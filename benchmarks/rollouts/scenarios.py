"""The simulated rollouts: of versions that are alike and of worse ones, and what the tests say of them."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from benchmarks.rollouts.blocks import GateBlocks
from benchmarks.rollouts.naive import ZTest
from benchmarks.rollouts.outcome import ALPHAS, Alarms, Row
from benchmarks.rollouts.slowness import ManySlownessTests
from benchmarks.rollouts.traffic import (
    LOOKS_A_SECOND,
    STEPS,
    Bursts,
    Failing,
    Latencies,
    Look,
    Rates,
    breaking,
    constant,
    failing_batches,
    failures,
    latencies,
)
from headrace.rollout.evidence.comparison import Comparison
from headrace.rollout.evidence.difference import Difference
from headrace.rollout.evidence.harm import (
    EFFECTS,
    EXPECTED_RATE,
    MARGINS_BETTER,
    Counts,
    LimitTest,
)
from headrace.rollout.evidence.tempered import TemperedComparison

SEED = 20_260_101
RATES = (0.001, 0.01, 0.05)
INCREASES = (0.005, 0.01, 0.02, 0.05, 0.2)
QUANTILE = 0.95
MAX_RATIO = 1.25
SLOWER = (1.2, 1.5, 2.0, 3.0)
LIMIT = 0.05
RARE = 20_000
DISAGREEMENTS = (0.1, 0.2, 0.9)
PROVEN_MARGIN = 0.01
BATCH = 8
MEASURED = "HarmTest(), burst measured"
BREAKS_AT_S = 240
DURATION_S = sum(duration_s for _, duration_s in STEPS)
CONFIDENCE = 0.95


@dataclass(slots=True)
class Results:
    """Rows; the share of runs with a false alarm by second; how often the interval was ever wrong."""

    rows: list[Row] = field(default_factory=list)
    by_second: dict[str, list[float]] = field(default_factory=dict)
    missed: dict[str, float] = field(default_factory=dict)


def measure(runs: int, results: Results) -> Iterator[str]:
    """Adds to `results`, and says after each scenario what it was."""
    for name, scenario in SCENARIOS.items():
        scenario(runs, results)
        yield name


def alike(runs: int, results: Results) -> None:
    """(a) The same version twice; what fails, fails independently."""
    for rate in RATES:
        _watch_alike(runs, f"errors {rate:.1%}", constant(runs, rate, rate), results)
    bursts = Bursts(runs, 0.002, 0.1, every_s=60, lasting_s=5)
    _watch_alike(runs, "errors 0.2%, in both 10% for 5 s a minute", bursts, results)


def worse_by_the_margin(runs: int, results: Results) -> None:
    """(a) The most that the null allows: errors 1 % and 2 % at a margin of 1 percentage point."""
    looks = failures(runs, constant(runs, 0.01, 0.02), _random())
    comparison = Comparison(0.01, [0.01 + effect for effect in EFFECTS], EXPECTED_RATE, (runs,))
    results.rows += _watch(
        looks, comparison, "false alarms", "errors 1.0%, canary 2.0%", "HarmTest(0.01)", is_null=True
    )


def failing_by_batches(runs: int, results: Results) -> None:
    """(a) The same version twice; whole batches fail."""
    for rate in (0.001, 0.01):
        failing = Failing(rate, BATCH)
        looks = failing_batches(runs, failing, failing, _random())
        scenario = f"errors {rate:.1%}, by batches of up to {BATCH}"
        comparison = Comparison(0.0, EFFECTS, EXPECTED_RATE, (runs,))
        rows = _watch(looks, comparison, "false alarms", scenario, "HarmTest()", is_null=True)
        results.rows += [replace(row, breaks=True) for row in rows]
        results.rows += _watch_batches(runs, failing, failing, scenario, is_null=True)
    rare, mixed = Failing(1 / RARE, 32), Failing(1 / RARE, 32, rate_alone=0.01)
    for scenario, of_stable, of_canary, is_breaking in (
        ("errors 1.0%, by batches of up to 8, of the canary 2", Failing(0.01, 8), Failing(0.01, 2), False),
        (f"errors by batches of up to 32, one of {RARE:,}", rare, rare, False),
        # Until the stable version has lost its first batch, the canary is the one that fails.
        ("errors 0.5%, by batches of up to 32, of the canary 4", Failing(0.005, 32), Failing(0.005, 4), True),
        ("errors 1.0%, by batches of up to 2, of the canary 8", Failing(0.01, 2), Failing(0.01, 8), False),
        (f"errors 1.0%, and batches of up to 32, one of {RARE:,}", mixed, mixed, False),
    ):
        rows = _watch_batches(runs, of_stable, of_canary, scenario, is_null=True)
        results.rows += [replace(row, breaks=is_breaking) for row in rows]


def alike_latencies(runs: int, results: Results) -> None:
    """(a) The same version twice; latencies alone, and with a load that comes and goes."""
    for scenario, settings in {
        "independent": Latencies(),
        "load of 0.5 s, each its own": Latencies(load_share=0.3, memory_s=0.5),
        "load of 2 s, each its own": Latencies(load_share=0.3, memory_s=2),
        "load of 2 s, shared": Latencies(load_share=0.3, memory_s=2, is_shared=True),
    }.items():
        results.rows += _watch_latencies(
            runs, settings, "false alarms", scenario, (MAX_RATIO, 1.0), is_null=True
        )
    for scenario, settings, is_tempered in (
        ("load of 2 s, each its own", Latencies(load_share=0.3, memory_s=2), False),
        ("load of 10 s, each its own", Latencies(load_share=0.3, memory_s=10), True),
    ):
        rows = _watch_latencies(
            runs, settings, "false alarms", scenario, is_null=True, is_tempered=is_tempered
        )
        results.rows += [replace(row, breaks=True) for row in rows]


def more_errors(runs: int, results: Results) -> None:
    """(b) The canary fails more often from the start."""
    for rate in (0.0, *RATES):
        for increase in INCREASES:
            looks = failures(runs, constant(runs, rate, rate + increase), _random())
            scenario = f"errors {rate:.1%} + {increase:.1%}"
            comparison = Comparison(0.0, EFFECTS, EXPECTED_RATE, (runs,))
            results.rows += _watch(looks, comparison, "power", scenario, "HarmTest()", is_null=False)
    for increase in INCREASES:
        of_stable, of_canary = Failing(0.01, BATCH), Failing(0.01 + increase, BATCH)
        scenario = f"errors {0.01:.1%} + {increase:.1%}, by batches of up to {BATCH}"
        results.rows += _watch_batches(runs, of_stable, of_canary, scenario, is_null=False)


def breaks_late(runs: int, results: Results) -> None:
    """(b) The canary is well for four minutes, then breaks; counted from there."""
    for increase in (0.02, 0.05, 0.2):
        looks = failures(runs, breaking(runs, 0.01, increase, BREAKS_AT_S), _random())
        scenario = f"errors 1.0% + {increase:.1%} from 240 s on"
        comparison = Comparison(0.0, EFFECTS, EXPECTED_RATE, (runs,))
        results.rows += _watch(
            looks, comparison, "power", scenario, "HarmTest()", is_null=False, since_s=BREAKS_AT_S
        )


def slower(runs: int, results: Results) -> None:
    """(b) The canary is slower from the start."""
    for how, load_share in (("independent", 0.0), ("load of 2 s, each its own", 0.3)):
        for ratio in SLOWER:
            settings = Latencies(slower=ratio, load_share=load_share, memory_s=2)
            scenario = f"latencies × {ratio:g}, {how}"
            max_ratios = (1.0,) if ratio < MAX_RATIO else (MAX_RATIO,)
            results.rows += _watch_latencies(runs, settings, "power", scenario, max_ratios, is_null=False)


def disagreeing(runs: int, results: Results) -> None:
    """(a, b) Every pair of answers of stable and canary is compared, five at each look."""
    rng, pairs, looks = _random(), 5, DURATION_S * LOOKS_A_SECOND
    for rate in (LIMIT, *DISAGREEMENTS):
        is_null = rate <= LIMIT
        alarms = {alpha: Alarms(runs) for alpha in ALPHAS}
        for run in range(runs):
            _watch_limit(rng.binomial(pairs, rate, looks // 4 if is_null else looks), pairs, run, alarms)
        for alpha, each in alarms.items():
            group, scenario = ("false alarms", "power")[not is_null], f"disagreement {rate:.0%}"
            results.rows.append(each.row(group, scenario, f"LimitTest({LIMIT})", alpha, is_null=is_null))


def intervals(runs: int, results: Results) -> None:
    """In how many rollouts the interval for the difference was ever wrong."""
    for stable, canary in ((0.001, 0.001), (0.01, 0.01), (0.05, 0.05), (0.01, 0.03), (0.01, 0.2)):
        difference, is_missed = Difference((runs,)), np.zeros(runs, dtype=bool)
        for look in failures(runs, constant(runs, stable, canary), _random()):
            difference.add(*look.numbers)
            least, greatest = difference.interval(CONFIDENCE)
            is_missed |= (least > canary - stable) | (greatest < canary - stable)
        results.missed[f"errors {stable:.1%}, canary {canary:.1%}"] = float(is_missed.mean())


def proofs(runs: int, results: Results) -> None:
    """(c) The same version twice: how long a proof takes that it is less than a percentage point worse."""
    gaps = [PROVEN_MARGIN * (1 - better) for better in MARGINS_BETTER]
    for canary_rate in (*RATES, 0.02):
        is_null = canary_rate == 0.02
        rate = 0.01 if is_null else canary_rate
        looks = failures(runs, constant(runs, rate, canary_rate), _random())
        comparison = Comparison(PROVEN_MARGIN, gaps, EXPECTED_RATE, (runs,))
        scenario = f"errors {rate:.1%}" + (f", canary {canary_rate:.1%}" if is_null else "")
        group = "false alarms" if is_null else "proof"
        results.rows += _watch(looks, comparison, group, scenario, "HarmlessTest(0.01)", is_null=is_null)
    looks = failing_batches(runs, Failing(0.01, BATCH), Failing(0.02, BATCH), _random())
    comparison = Comparison(PROVEN_MARGIN, gaps, EXPECTED_RATE, (runs,))
    scenario = f"errors 1.0%, canary 2.0%, by batches of up to {BATCH}"
    rows = _watch(looks, comparison, "false alarms", scenario, "HarmlessTest(0.01), no burst", is_null=True)
    results.rows += [replace(row, breaks=True) for row in rows]


SCENARIOS = {
    "errors alike": alike,
    "errors worse by the margin": worse_by_the_margin,
    "errors by batches": failing_by_batches,
    "latencies alike": alike_latencies,
    "more errors": more_errors,
    "errors from some time on": breaks_late,
    "slower": slower,
    "other answers": disagreeing,
    "proofs": proofs,
    "intervals": intervals,
}


def _random() -> np.random.Generator:
    return np.random.default_rng(SEED)


def _watch(
    looks: Iterable[Look],
    comparison: Comparison,
    group: str,
    scenario: str,
    test: str,
    *,
    is_null: bool,
    since_s: float = 0.0,
    blocks: GateBlocks | None = None,
) -> list[Row]:
    """Adds every look to `comparison`, or what `blocks` makes of it; a row for each alpha."""
    runs = len(comparison.process.highest)
    alarms = {alpha: Alarms(runs) for alpha in ALPHAS}
    requests, before = np.zeros(runs), 0.0
    for number, look in enumerate(looks):
        comparison.add(*(blocks.close(look) if blocks else look.numbers))
        requests = requests + look.canary_requests
        if number + 1 == since_s * LOOKS_A_SECOND:
            before = float(np.median(requests))
        for alpha, each in alarms.items():
            each.see(number, comparison.process.highest >= -np.log(alpha), requests)
        if all(each.has_all for each in alarms.values()):
            break
    return [
        each.row(group, scenario, test, alpha, is_null=is_null, since_requests=before, since_s=since_s)
        for alpha, each in alarms.items()
    ]


def _watch_batches(
    runs: int, of_stable: Failing, of_canary: Failing, scenario: str, *, is_null: bool
) -> list[Row]:
    """By the test as the gate of errors uses it."""
    looks = failing_batches(runs, of_stable, of_canary, _random())
    comparison = Comparison(0.0, EFFECTS, EXPECTED_RATE, (runs,))
    group = "false alarms" if is_null else "power"
    return _watch(looks, comparison, group, scenario, MEASURED, is_null=is_null, blocks=GateBlocks(runs))


def _watch_alike(runs: int, scenario: str, rates: Rates, results: Results) -> None:
    """The sequential test and the naive one beside each other, on the same requests."""
    comparison, naive = Comparison(0.0, EFFECTS, EXPECTED_RATE, (runs,)), ZTest(runs)
    alarms = {(test, alpha): Alarms(runs) for test in ("HarmTest()", "naive z-test") for alpha in ALPHAS}
    requests = np.zeros(runs)
    for number, look in enumerate(failures(runs, rates, _random())):
        comparison.add(*look.numbers)
        naive.add(look)
        requests = requests + look.canary_requests
        for alpha in ALPHAS:
            is_harm = comparison.process.highest >= -np.log(alpha)
            alarms["HarmTest()", alpha].see(number, is_harm, requests)
            alarms["naive z-test", alpha].see(number, naive.is_harm(alpha), requests)
    for (test, alpha), each in alarms.items():
        results.rows.append(each.row("false alarms", scenario, test, alpha, is_null=True))
        results.by_second[f"{scenario}, {test}, {alpha:g}"] = each.share_by_second(DURATION_S)


def _watch_latencies(
    runs: int,
    settings: Latencies,
    group: str,
    scenario: str,
    max_ratios: Sequence[float] = (MAX_RATIO,),
    *,
    is_null: bool,
    is_tempered: bool = True,
) -> list[Row]:
    """The same requests for each of `max_ratios`."""
    comparisons = [_of_latencies(runs, is_tempered) for _ in max_ratios]
    tests = [
        ManySlownessTests(comparison, runs, QUANTILE, max_ratio)
        for comparison, max_ratio in zip(comparisons, max_ratios)
    ]
    alarms = {(max_ratio, alpha): Alarms(runs) for max_ratio in max_ratios for alpha in ALPHAS}
    requests = np.zeros(runs)
    for number, (log_latencies, is_canary) in enumerate(latencies(runs, settings, _random())):
        requests = requests + is_canary.sum(axis=1)
        for test, comparison, max_ratio in zip(tests, comparisons, max_ratios):
            test.add(log_latencies, is_canary)
            for alpha in ALPHAS:
                alarms[max_ratio, alpha].see(number, comparison.process.highest >= -np.log(alpha), requests)
        if all(each.has_all for each in alarms.values()):
            break
    how = "" if is_tempered else ", not tempered"
    scenario = f"latencies, {scenario}" if is_null else scenario
    return [
        each.row(group, scenario, f"SlownessTest({QUANTILE}, {max_ratio:g}){how}", alpha, is_null=is_null)
        for (max_ratio, alpha), each in alarms.items()
    ]


def _of_latencies(runs: int, is_tempered: bool) -> Comparison | TemperedComparison:
    if is_tempered:
        return TemperedComparison(0.0, EFFECTS, 1 - QUANTILE, (runs,))
    return Comparison(0.0, EFFECTS, 1 - QUANTILE, (runs,))


def _watch_limit(
    disagreeing: npt.NDArray[np.int64], pairs: int, run: int, alarms: dict[float, Alarms]
) -> None:
    """One run by the class itself."""
    test = LimitTest(LIMIT)
    for number, events in enumerate(disagreeing):
        test.add(Counts(pairs, int(events)))
        for alpha, each in alarms.items():
            if test.is_harm(alpha):
                each.see_one(run, number, test.canary.requests)
        if test.is_harm(min(ALPHAS)):
            return
