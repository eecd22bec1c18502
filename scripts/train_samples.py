"""Trains the sample models and writes them into the model repository."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from threadpoolctl import threadpool_limits

from samples import cancer, digits, repository, text_topics
from samples.repository import WrittenVersion

ROOT = Path(__file__).resolve().parent.parent
COMMITTED_REPOSITORY = ROOT / "model_repository"
SAMPLES = {"digits": digits, "cancer": cancer, "text_topics": text_topics}


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains what the command line asks for, and prints a table of what was written."""
    options = _parser().parse_args(arguments)
    written: list[WrittenVersion] = []
    # One thread: sums are then always taken in the same order, and a second run gives the same bytes.
    with threadpool_limits(limits=1):
        for name in options.only or SAMPLES:
            print(f"{name}:", flush=True)
            written += repository.write(SAMPLES[name].train(), options.output, COMMITTED_REPOSITORY)
    _print_table(written)
    print(f"written to {options.output}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Trains the sample models from data that ship with scikit-learn and Python, exports them "
        "to ONNX, checks the export against scikit-learn and writes a model repository. Needs no network. "
        "Seeds are fixed: with the same packages on the same machine, the files come out the same.",
    )
    parser.add_argument(
        "--only",
        action="append",
        choices=sorted(SAMPLES),
        help="train this sample only; may be given more than once (default: all)",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=COMMITTED_REPOSITORY,
        metavar="DIR",
        help="the model repository to write (default: %(default)s)",
    )
    return parser


def _print_table(written: Sequence[WrittenVersion]) -> None:
    print(f"\n{'model':<14}{'version':>8}{'held-out accuracy':>20}{'of rows':>10}{'size (KiB)':>12}")
    for line in written:
        print(
            f"{line.model:<14}{line.version:>8}{line.heldout_accuracy:>20.4f}"
            f"{line.heldout_rows:>10}{line.size_bytes / 1024:>12.1f}"
        )


if __name__ == "__main__":
    main()
