"""Settings from the environment: HEADRACE_ and the flag's name, as in HEADRACE_GRPC_PORT."""

import re
from collections.abc import Iterator, Mapping

from headrace.settings.given import OPTIONS, Given, take_text
from headrace.settings.option import VARIABLE_PREFIX
from headrace.settings.suggestion import did_you_mean

CONFIG_VARIABLE = f"{VARIABLE_PREFIX}CONFIG"
# What headrace's own clients read.
CLIENT_VARIABLES = frozenset({f"{VARIABLE_PREFIX}API_KEY"})

# Kubernetes tells every pod of every service: one named `headrace` or `headrace-grpc` sets variables that
# begin like ours (kubernetes.io, "Service", environment variables).
_SERVICE_LINK_NAME = re.compile(r".*_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?)")
_SERVICE_LINK_VALUE = re.compile(r"(tcp|udp|sctp)://")


def read_environment(environment: Mapping[str, str], problems: list[str]) -> Iterator[Given]:
    """What `environment` sets; a line in `problems` for each variable that is unknown or wrong."""
    known = {option.variable: option for options in OPTIONS.values() for option in options}
    for variable, text in sorted(environment.items()):
        if not variable.startswith(VARIABLE_PREFIX) or variable in (CONFIG_VARIABLE, *CLIENT_VARIABLES):
            continue
        if _is_service_link(variable, text):
            continue
        if variable in known:
            yield from take_text(known[variable], text, variable, problems)
        else:
            problems.append(f"{variable}: is not a setting{did_you_mean(variable, known)}")


def _is_service_link(variable: str, text: str) -> bool:
    return bool(_SERVICE_LINK_NAME.fullmatch(variable) or _SERVICE_LINK_VALUE.match(text))
