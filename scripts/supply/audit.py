"""What a vulnerability service knows against the packages of a lock file, asked by pip-audit."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from supply.lock import Pin


@dataclass(frozen=True, slots=True)
class Report:
    """Sentences of what is known, and of what could not be found out; without either all is well."""

    packages: int
    known: tuple[str, ...]
    unanswered: tuple[str, ...]


def audit(path: Path, pins: Sequence[Pin], words: Sequence[str]) -> Report:
    """Asks about those of `pins`, read from the lock file at `path`, that are installed on this machine.

    `words` are further options of pip-audit.
    """
    command = [
        *(sys.executable, "-m", "pip_audit"),
        *("--require-hashes", "--disable-pip", "--requirement", str(path)),
        *("--format", "json", "--desc", "off", "--progress-spinner", "off"),
    ]
    asked = [pin for pin in pins if pin.applies()]
    done = subprocess.run([*command, *words], capture_output=True, text=True)
    try:
        answers = json.loads(done.stdout)["dependencies"]
    except ValueError:
        lines = done.stderr.strip().splitlines() or [f"pip-audit ended with status {done.returncode}"]
        return Report(len(asked), (), (lines[-1],))
    return report(asked, answers)


def report(asked: Sequence[Pin], answers: Sequence[dict[str, Any]]) -> Report:
    """What pip-audit's `answers` come to.

    A package that the service does not know is nothing to pip-audit; here it is unanswered.
    """
    answered = {(canonicalize_name(each["name"]), each.get("version")): each for each in answers}
    skipped: dict[str, str] = {each["name"]: each["skip_reason"] for each in answers if "skip_reason" in each}
    unanswered = [
        f"{pin.name} {pin.version}: {skipped.get(pin.name, 'pip-audit did not ask about it')}"
        for pin in asked
        if (pin.name, pin.version) not in answered
    ]
    known = [line for each in answers for line in _known(each)]
    return Report(len(asked), tuple(known), tuple(unanswered))


def _known(answer: dict[str, Any]) -> Iterator[str]:
    for vulnerability in answer.get("vulns", ()):
        names = [vulnerability["id"], *vulnerability.get("aliases", ())]
        fixed = ", ".join(vulnerability["fix_versions"]) or "no version yet"
        yield f"{answer['name']} {answer['version']}: {' '.join(names)}, fixed in {fixed}"
