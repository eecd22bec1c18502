"""A route in the words of the command line, read and written: `2=5`, `metadata:user-id`, `model:spare`."""

from collections.abc import Sequence

from headrace.core.route import Route
from headrace.errors import ConfigError
from headrace.pb.headrace.v1 import routing_pb2 as pb
from headrace.repository.problems import Findings
from headrace.repository.routing.reading import route_of

_KEYS = "metadata:NAME, parameter:NAME, sequence or caller"
_MODEL = "model:"


def route_of_words(
    weights: Sequence[str],
    shadows: Sequence[str],
    labels: Sequence[str],
    sticky: str,
    fallback: str,
    seed: str,
) -> Route:
    """The route that these say; ConfigError names what is wrong with it."""
    message = pb.Route(seed=seed)
    for word in weights:
        version, share = _pair(word, "a share", "VERSION=PERCENT, as in 2=5")
        number = _version(version, word)
        if number in message.weights:
            raise ConfigError(f"{word!r}: version {number} is given twice")
        message.weights[number] = _number(share, word)
    for word in shadows:
        version, _, share = word.partition("=")
        message.shadows.add(version=_version(version, word), percent=_number(share or "100", word))
    for word in labels:
        label, version = _pair(word, "--label", "NAME=VERSION, as in canary=2")
        if label in message.labels:
            raise ConfigError(f"--label: {label!r} is given twice")
        message.labels[label] = _version(version, word)
    if sticky:
        message.sticky.CopyFrom(_key(sticky))
    if fallback:
        message.fallback.CopyFrom(_fallback(fallback))
    return route_of(message, Findings("route"))


def key_words(key: pb.Key | pb.Condition) -> str:
    """`metadata:user-id`, or `caller`."""
    kind = key.WhichOneof("key") or ""
    return f"{kind}:{getattr(key, kind)}" if kind in ("metadata", "parameter") else kind


def fallback_words(fallback: pb.Fallback) -> str:
    if fallback.model:
        return f"{_MODEL}{fallback.model}"
    return f"version {fallback.version}" if fallback.version else "the default version"


def _key(word: str) -> pb.Key:
    match word.partition(":"):
        case ("metadata", ":", name) if name:
            return pb.Key(metadata=name)
        case ("parameter", ":", name) if name:
            return pb.Key(parameter=name)
        case ("sequence", "", ""):
            return pb.Key(sequence=True)
        case ("caller", "", ""):
            return pb.Key(caller=True)
    raise ConfigError(f"--sticky: {word!r} is not valid: expected {_KEYS}")


def _fallback(word: str) -> pb.Fallback:
    if word.startswith(_MODEL):
        return pb.Fallback(model=word.removeprefix(_MODEL))
    return pb.Fallback(version=word)


def _pair(word: str, what: str, expected: str) -> tuple[str, str]:
    name, has_value, value = word.partition("=")
    if not (name and has_value and value):
        raise ConfigError(f"{what}: {word!r} is not valid: expected {expected}")
    return name, value


def _version(text: str, word: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 18):
        raise ConfigError(f"{word!r} is not valid: expected a version's number in place of {text!r}")
    return int(text)


def _number(text: str, word: str) -> float:
    try:
        return float(text.removesuffix("%"))
    except ValueError:
        raise ConfigError(f"{word!r} is not valid: expected percent in place of {text!r}") from None
