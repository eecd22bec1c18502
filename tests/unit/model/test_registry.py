"""The registry: which version answers, and what is told of those that do not."""

import pytest

from headrace.errors import InvalidArgument, NotFound, Unavailable
from headrace.model.registry import Registry, VersionStatus, parse_version
from headrace.model.state import ModelState


class FakeModel:
    def __init__(self, version):
        self.version = version

    def watch_ability(self, changed):
        self.changed = changed


def registry_with(*versions):
    registry = Registry()
    registry.publish("m", {version: FakeModel(version) for version in versions})
    return registry


def test_the_newest_version_answers_where_none_is_named():
    registry = registry_with(10, 9, 2)
    assert registry.find("m", "").version == 10
    assert registry.find("m", "9").version == 9
    assert list(registry.ready("m")) == [2, 9, 10]
    assert registry.newest("m").version == 10
    assert registry.newest("n") is None


def test_what_does_not_answer_is_not_found_or_unavailable():
    registry = registry_with(1)
    registry.note("m", VersionStatus(2, ModelState.LOADING))
    registry.note("broken", VersionStatus(1, ModelState.UNAVAILABLE, "no graph"))
    for name, version, error, words in (
        ("n", "", NotFound, "unknown model: 'n' is not found"),
        ("n", "1", NotFound, "unknown model: 'n' is not found"),
        ("m", "3", NotFound, "'m' version 3 is not found"),
        ("m", "2", Unavailable, "'m' version 2 is not at ready state"),
        ("broken", "", NotFound, "'broken' has no available versions"),
        ("broken", "1", Unavailable, "not at ready state"),
    ):
        with pytest.raises(error, match=words):
            registry.find(name, version)


@pytest.mark.parametrize(
    "version", ["0", "-1", "1.0", "latest", " 1", "1 ", "٣", "1" * 19, "+1", "1_0", "\0", "x" * 10_000]
)
def test_a_version_that_is_no_number_is_an_invalid_argument(version):
    with pytest.raises(InvalidArgument, match="integral value > 0") as raised:
        parse_version(version)
    assert len(str(raised.value)) < 300


@pytest.mark.parametrize(("version", "number"), [("1", 1), ("007", 7), ("9" * 18, 10**18 - 1)])
def test_a_version_may_have_leading_zeros(version, number):
    assert parse_version(version) == number


def test_publishing_replaces_all_versions_in_one_step_and_tells_listeners():
    registry = registry_with(1, 2)
    seen = []
    stop = registry.listen(lambda: seen.append(sorted(registry.ready("m"))))
    registry.publish("m", {3: FakeModel(3)})
    assert seen == [[3]]
    assert registry.find("m", "").version == 3
    registry.publish("m", {})
    assert seen[-1] == []
    assert list(registry.models()) == []
    stop()
    registry.publish("m", {1: FakeModel(1)})
    assert len(seen) == 2


def test_a_lost_worker_is_told_to_listeners():
    """L18."""
    registry = registry_with(1)
    seen = []
    registry.listen(lambda: seen.append("changed"))
    registry.find("m", "").changed()
    assert seen == ["changed"]


def test_statuses_are_kept_until_they_are_forgotten():
    registry = registry_with(1)
    registry.note("m", VersionStatus(2, ModelState.UNAVAILABLE, "why"))
    assert [(each.version, each.state, each.reason) for each in registry.statuses("m")] == [
        (1, ModelState.READY, ""),
        (2, ModelState.UNAVAILABLE, "why"),
    ]
    registry.forget("m", 2)
    assert registry.names() == ["m"]
    registry.forget("m", 1)
    assert registry.names() == []
    registry.forget("m", 1)
