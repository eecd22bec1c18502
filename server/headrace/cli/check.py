"""`headrace check`: every problem of every model in a repository, at once, and a table of what is fine."""

import argparse
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from headrace.backend.onnx import OnnxSession
from headrace.backend.options import plan_session
from headrace.core.tensor import TensorSpec
from headrace.errors import ConfigError, HeadraceError
from headrace.instance.machine import available_cores
from headrace.instance.planner import CPU
from headrace.model.golden import GoldenCheck
from headrace.model.time_limit import execution_timeout_s
from headrace.repository.config import DEFAULT_MAX_BATCH_SIZE, ModelConfig
from headrace.repository.files.scan import ModelFolder
from headrace.repository.problems import InvalidConfig, InvalidModel, Problem, printable
from headrace.repository.repository import Repository, VersionSource
from headrace.settings import ExecutionSettings
from headrace.settings.suggestion import did_you_mean

_HEADINGS = ("MODEL", "VERSIONS", "MAX BATCH", "INPUTS", "OUTPUTS")


@dataclass(slots=True)
class Report:
    """What was found in a repository; `models` has those that can be served, with their versions.

    `golden_count` is how many golden requests were answered as expected, or None where none were run.
    """

    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    models: list[tuple[ModelConfig, tuple[int, ...]]] = field(default_factory=list)
    golden_count: int | None = None

    def add_problems(self, problems: Iterable[Problem]) -> None:
        """Adds those not known yet: the versions of a model share its configuration."""
        self.problems.extend(problem for problem in problems if problem not in self.problems)

    def add_notes(self, notes: Iterable[str]) -> None:
        """Adds those not known yet."""
        self.notes.extend(note for note in notes if note not in self.notes)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what `headrace check` takes to `parser`."""
    parser.description = "Checks the models of a repository as the server would load them, without serving."
    parser.add_argument("repository", type=Path, help="the model repository's folder")
    parser.add_argument("models", nargs="*", metavar="model", help="the models to check (default: all)")
    parser.add_argument("--json", action="store_true", help="write the report as JSON")
    parser.add_argument(
        "--golden", action="store_true", help="load the models, too, and run their golden requests on the CPU"
    )
    parser.add_argument(
        "--default-max-batch-size",
        type=int,
        default=DEFAULT_MAX_BATCH_SIZE,
        metavar="ROWS",
        help="the batch size of models that can batch and do not say how far (default: %(default)s)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Prints the report; 1 where there is any problem, else 0."""
    repository = Repository(arguments.repository, default_max_batch_size=arguments.default_max_batch_size)
    report = check(repository, arguments.models, runs_golden=arguments.golden)
    print(_as_json(report) if arguments.json else _as_text(report))
    return 1 if report.problems else 0


def check(repository: Repository, wanted: Sequence[str] = (), *, runs_golden: bool = False) -> Report:
    """Reads every wanted model of `repository` (all, where none is named) and gathers what is wrong."""
    report = Report(golden_count=0 if runs_golden else None)
    try:
        scan = repository.scan()
    except ConfigError as error:
        report.add_problems([_unplaced(str(repository.path), error)])
        return report
    for name in wanted or scan.models:
        if name in scan.models:
            _check_model(repository, scan.models[name], report)
        else:
            reason = scan.ignored.get(name) or f"is not in the repository{did_you_mean(name, scan.models)}"
            report.add_problems([Problem(name, "", reason)])
    if not wanted:
        report.add_notes(f"{name}: ignored: {reason}" for name, reason in scan.ignored.items())
    return report


def _check_model(repository: Repository, folder: ModelFolder, report: Report) -> None:
    name = folder.name
    report.add_notes(f"{name}/{entry}: ignored: {reason}" for entry, reason in folder.ignored.items())
    try:
        versions = repository.versions(name)
    except HeadraceError as error:
        report.add_problems(_problems(name, error))
        versions = folder.numbers
    if not versions:
        present = ", ".join(map(str, folder.numbers)) or "none"
        report.add_problems([Problem(name, "", f"has no version to serve; present are: {present}")])
    served = [config for version in versions if (config := _check_version(repository, name, version, report))]
    if served and len(served) == len(versions):
        report.models.append((served[-1], tuple(versions)))


def _check_version(repository: Repository, name: str, version: int, report: Report) -> ModelConfig | None:
    """The version's configuration, or None where it has problems."""
    try:
        source = repository.read(name, version)
        if report.golden_count is not None:
            report.golden_count += _run_golden(source)
    except HeadraceError as error:
        report.add_problems(_problems(f"{name}/{version}", error))
        return None
    report.add_notes(source.notes)
    return source.config


def _run_golden(source: VersionSource) -> int:
    """How many golden requests were answered as expected, all of them; LoadError where any was not."""
    if source.golden:
        session = OnnxSession(
            source.model, source.config, plan_session(source.config, None, available_cores())
        )
        timeout_s = execution_timeout_s(source.config.parameters, ExecutionSettings().execution_timeout_ms)
        GoldenCheck(source).run(session.backend(), str(CPU), timeout_s)
    return len(source.golden)


def _problems(place: str, error: HeadraceError) -> Iterable[Problem]:
    if isinstance(error, InvalidConfig | InvalidModel):
        return error.problems
    return [_unplaced(place, error)]


def _unplaced(place: str, error: HeadraceError) -> Problem:
    """A problem for an error whose message may begin with a place of its own, below `place`."""
    message = str(error)
    first, _, rest = message.partition(" ")
    return Problem(first, "", rest) if first.startswith(place) else Problem(place, "", message)


def _as_json(report: Report) -> str:
    return json.dumps(
        {
            "problems": [_problem(problem) for problem in report.problems],
            "notes": report.notes,
            "golden_requests": report.golden_count,
            "models": [
                {
                    "name": config.name,
                    "versions": list(versions),
                    "max_batch_size": config.max_batch_size,
                    "inputs": [_tensor(spec) for spec in config.inputs],
                    "outputs": [_tensor(spec) for spec in config.outputs],
                }
                for config, versions in report.models
            ],
        },
        indent=2,
    )


def _problem(problem: Problem) -> dict[str, object]:
    return {
        "file": problem.file,
        "line": problem.line or None,
        "field": problem.field,
        "message": problem.message,
    }


def _tensor(spec: TensorSpec) -> dict[str, object]:
    return {"name": spec.name, "datatype": spec.datatype.value, "dims": list(spec.dims)}


def _as_text(report: Report) -> str:
    lines = [f"problem: {problem}" for problem in report.problems]
    lines += [f"note: {note}" for note in report.notes]
    lines += _table([_row(config, versions) for config, versions in report.models])
    count = len(report.problems)
    summary = f"{len(report.models)} models can be served; {count} problem{'' if count == 1 else 's'}"
    if report.golden_count is not None:
        requests = f"golden request{'' if report.golden_count == 1 else 's'}"
        summary += f"; {report.golden_count} {requests} answered as expected"
    lines.append(summary)
    return "\n".join(map(printable, lines))


def _row(config: ModelConfig, versions: tuple[int, ...]) -> tuple[str, ...]:
    return (
        config.name,
        ", ".join(map(str, versions)),
        str(config.max_batch_size),
        ", ".join(map(_shown_tensor, config.inputs)),
        ", ".join(map(_shown_tensor, config.outputs)),
    )


def _shown_tensor(spec: TensorSpec) -> str:
    return f"{spec.name} {spec.datatype.value}[{','.join(map(str, spec.dims))}]"


def _table(rows: list[tuple[str, ...]]) -> list[str]:
    """The rows under their headings, columns aligned; nothing where there are no rows."""
    if not rows:
        return []
    table = [_HEADINGS, *rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(_HEADINGS))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in table
    ]
