"""`headrace rollout`: starts, watches and steers the change from one version of a model to the next."""

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from shutil import get_terminal_size
from typing import Any, TypeAlias

from headrace.cli.arguments import add_connection_arguments, at_least, connect
from headrace.cli.client import Method
from headrace.cli.rollout_calls import (
    ABORT,
    COMPARE,
    EXPLAIN,
    HISTORY,
    PAUSE,
    PROMOTE,
    RESUME,
    ROLLBACK,
    START,
)
from headrace.cli.rollout_plan_text import plan_text
from headrace.cli.rollout_story import parsed_evidence, story
from headrace.cli.rollout_text import history_table, status_text
from headrace.cli.rollout_watch import current, watch
from headrace.cli.rollout_words import outcome
from headrace.cli.routing_file import read_plan_file
from headrace.cli.screen import shows
from headrace.errors import ConfigError
from headrace.logs import escape
from headrace.pb.headrace.v1 import rollouts_pb2 as pb
from headrace.repository.routing.writing import plan_message
from headrace.rollout.comparison.picture import report
from headrace.transport.message_json import message_json

EPILOG = """\
A rollout goes through the steps of a plan: FILE, or that of the model's configuration, or the default one
(shadow, 1, 5, 25, 50 and 100 percent). A gate that fails, or a guard rail, sends all requests back.
A version that answers already is rolled out anew by naming with --from the one that it is to take over from.

examples:
  headrace rollout start digits
  headrace rollout start digits --to 2 --from 1
  headrace rollout start digits --to 4 --from 3 --plan careful.yaml --watch
  headrace rollout start digits --plan careful.yaml --dry-run
  headrace rollout status --watch
  headrace rollout pause digits --reason "looking at the p95"
  headrace rollout promote digits --full
  headrace rollout explain digits
  headrace rollout compare digits stable canary

exit status:
  0 it went well, 1 the server said no, or a watched start was rolled back, aborted or forgotten (by a server
  that keeps no state), 2 an argument or the plan is wrong.
"""

# Of a picture: bars that are longer tell no more.
MAX_WIDTH = 100

_Parser: TypeAlias = argparse.ArgumentParser
_Actions: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

_ORDERS: Mapping[str, tuple[Method[pb.RolloutRequest, pb.Rollout], str]] = {
    "pause": (PAUSE, "keep the weights as they are; only guard rails still act"),
    "resume": (RESUME, "go on after a pause"),
    "rollback": (ROLLBACK, "send all requests back to the version before, also once the rollout is done"),
    "abort": (ABORT, "end the rollout and leave the weights as they are"),
}
_ENDED_BADLY = frozenset({"rolled_back", "aborted"})

_LINES = "; without a terminal a line for each change"


def add_arguments(parser: _Parser) -> None:
    parser.epilog = EPILOG
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    _add_start(actions)
    _add_status(actions)
    for name, (method, summary) in _ORDERS.items():
        order = _add(actions, name, _order, summary)
        order.set_defaults(order=method)
        _add_reason(order)
    promoting = _add(actions, "promote", _promote, "go to the next step now, whatever the gates say")
    promoting.add_argument("--full", action="store_true", help="to the last step")
    _add_reason(promoting)
    listing = _add(actions, "history", _history, "list a model's rollouts, newest first")
    listing.add_argument(
        "--limit", type=at_least(0), default=20, metavar="N", help="rollouts, 0 for all [%(default)s]"
    )
    explaining = _add(actions, "explain", _explain, "tell every decision of a rollout with its evidence")
    explaining.add_argument(
        "--id", type=at_least(0), default=0, metavar="N", help="as history shows it [the last rollout]"
    )
    comparing = _add(
        actions, "compare", _compare, "show how the answers of two versions to the same requests differ"
    )
    comparing.add_argument("live", metavar="LIVE", help="the version that answered: its number or label")
    comparing.add_argument("shadow", metavar="SHADOW", help="the version that listened")


def run(arguments: argparse.Namespace) -> int:
    return int(arguments.act(arguments))


def _add(
    actions: _Actions,
    name: str,
    act: Callable[[argparse.Namespace], int],
    summary: str,
    *,
    needs_model: bool = True,
) -> _Parser:
    parser = actions.add_parser(
        name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.", allow_abbrev=False
    )
    if needs_model:
        parser.add_argument("model", metavar="MODEL")
    else:
        parser.add_argument("model", nargs="?", default="", metavar="MODEL", help="only this model")
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_connection_arguments(parser)
    # A live view: it has what is added to the parser later, too.
    parser.set_defaults(act=act, known_flags=parser._option_string_actions)
    return parser


def _add_start(actions: _Actions) -> None:
    parser = _add(actions, "start", _start, "begin to roll a version out")
    parser.add_argument(
        "--to", type=at_least(1), default=0, metavar="N", help="the version [the newest that is ready]"
    )
    parser.add_argument(
        "--from",
        dest="stable",
        type=at_least(1),
        default=0,
        metavar="N",
        help="the version that it takes over from [the one that answers now]",
    )
    parser.add_argument(
        "--plan",
        type=Path,
        metavar="FILE",
        help="steps and gates, as YAML or .json; those that are left out are the default ones. `steps: []` "
        "leaves them out, `gates: {}` is a plan without gates",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="check everything, show the plan and start nothing"
    )
    parser.add_argument("--watch", action="store_true", help=f"show how it goes until it has ended{_LINES}")


def _add_status(actions: _Actions) -> None:
    parser = _add(actions, "status", _status, "show how far rollouts are", needs_model=False)
    parser.add_argument(
        "--watch", action="store_true", help=f"go on until MODEL's has ended, or until interrupted{_LINES}"
    )


def _add_reason(parser: _Parser) -> None:
    parser.add_argument("--reason", default="", metavar="TEXT", help="is recorded with the change")


def _start(arguments: argparse.Namespace) -> int:
    if arguments.watch and (arguments.dry_run or arguments.json):
        raise ConfigError(f"--watch: nothing to watch with {'--dry-run' if arguments.dry_run else '--json'}")
    plan = read_plan_file(arguments.plan) if arguments.plan else None
    request = pb.StartRolloutRequest(
        model_name=arguments.model,
        version=arguments.to,
        stable_version=arguments.stable,
        plan=plan_message(plan) if plan else None,
        dry_run=arguments.dry_run,
    )
    with connect(arguments) as client:
        rollout = client.call(START, request)
        watched = watch(client, arguments.model, [rollout]) if arguments.watch else [rollout]
    if arguments.json:
        _print_json(message_json(rollout))
    elif arguments.dry_run:
        print(plan_text(rollout, arguments.plan))
    else:
        print(status_text(watched, time.time(), is_of_one=True))
    return 0 if watched and not any(each.state in _ENDED_BADLY for each in watched) else 1


def _status(arguments: argparse.Namespace) -> int:
    if arguments.watch and arguments.json:
        raise ConfigError("--watch: nothing to watch with --json")
    with connect(arguments) as client:
        rollouts = current(client, arguments.model)
        if arguments.watch:
            rollouts = watch(client, arguments.model, rollouts)
    if arguments.json:
        _print_json([message_json(rollout) for rollout in rollouts])
    else:
        print(status_text(rollouts, time.time(), is_of_one=bool(arguments.model)))
    return 0


def _order(arguments: argparse.Namespace) -> int:
    request = pb.RolloutRequest(model_name=arguments.model, reason=arguments.reason)
    with connect(arguments) as client:
        return _show_outcome(client.call(arguments.order, request), arguments)


def _promote(arguments: argparse.Namespace) -> int:
    request = pb.PromoteRequest(model_name=arguments.model, reason=arguments.reason, full=arguments.full)
    with connect(arguments) as client:
        return _show_outcome(client.call(PROMOTE, request), arguments)


def _show_outcome(rollout: pb.Rollout, arguments: argparse.Namespace) -> int:
    if arguments.json:
        _print_json(message_json(rollout))
    else:
        print(escape(outcome(rollout)))
    return 0


def _history(arguments: argparse.Namespace) -> int:
    request = pb.RolloutHistoryRequest(model_name=arguments.model, limit=arguments.limit)
    with connect(arguments) as client:
        rollouts: Sequence[pb.Rollout] = client.call(HISTORY, request).rollouts
    if arguments.json:
        _print_json([message_json(rollout) for rollout in rollouts])
    else:
        print(history_table(rollouts, time.time()))
    return 0


def _explain(arguments: argparse.Namespace) -> int:
    with connect(arguments) as client:
        answer = client.call(EXPLAIN, pb.ExplainRolloutRequest(model_name=arguments.model, id=arguments.id))
    if arguments.json:
        document = message_json(answer)
        for event in document["events"]:
            event["evidence"] = parsed_evidence(event["evidence"])
        _print_json(document)
    else:
        print(story(answer, time.time()))
    return 0


def _compare(arguments: argparse.Namespace) -> int:
    request = pb.CompareRequest(
        model_name=arguments.model, live_version=arguments.live, shadow_version=arguments.shadow
    )
    with connect(arguments) as client:
        document = client.call(COMPARE, request).document
    if arguments.json:
        print(document)
    else:
        width = min(get_terminal_size().columns, MAX_WIDTH)
        print(report(json.loads(document), width, is_ascii=not shows("█")))
    return 0


def _print_json(document: Any) -> None:
    print(json.dumps(document))
