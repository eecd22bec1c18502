"""Settling: a change counts once it has lasted."""

from dataclasses import replace

from headrace.repository.files.fingerprint import FileStamp
from headrace.repository.files.scan import ModelFolder, Scan, VersionFolder
from headrace.repository.settling import Settling


def scan(name: str = "m", config: int = 0, waiting: tuple[int, ...] = (), **versions: int) -> Scan:
    """A scan of one model; `v1=5` is version 1, whose file has 5 bytes."""
    folders = tuple(VersionFolder(int(key[1:]), stamp(size)) for key, size in versions.items())
    return Scan({name: ModelFolder(name, folders, stamp(config), waiting)})


def stamp(size: int) -> tuple[FileStamp, ...]:
    return (FileStamp("file", size, 0, 0),)


def numbers(found: Scan) -> dict[str, tuple[int, ...]]:
    return {name: model.numbers for name, model in found.models.items()}


def test_a_new_version_counts_once_it_has_lasted() -> None:
    settling = Settling(2.0)
    assert settling.observe(scan(v1=5), 0.0) == (Scan(), 2.0)
    assert settling.observe(scan(v1=5), 1.0) == (Scan(), 2.0)
    assert settling.observe(scan(v1=5), 2.0) == (scan(v1=5), None)


def test_a_version_that_grows_is_not_reported() -> None:
    settling = Settling(2.0, settled=scan(v1=5))
    for second in range(10):
        settled, next_check = settling.observe(scan(v1=5, v2=second), float(second))
        assert numbers(settled) == {"m": (1,)}
        assert next_check == second + 2.0
    assert numbers(settling.observe(scan(v1=5, v2=9), 11.0)[0]) == {"m": (1, 2)}


def test_a_version_in_change_keeps_its_settled_look() -> None:
    settling = Settling(2.0, settled=scan(v1=5))
    assert settling.observe(scan(v1=6), 0.0)[0] == scan(v1=5)
    assert settling.observe(scan(v1=7), 2.0)[0] == scan(v1=5)
    assert settling.observe(scan(v1=7), 4.0)[0] == scan(v1=7)


def test_a_change_that_is_taken_back_is_forgotten() -> None:
    settling = Settling(2.0, settled=scan(v1=5))
    settling.observe(scan(v1=6), 0.0)
    assert settling.observe(scan(v1=5), 1.0) == (scan(v1=5), None)
    assert settling.observe(scan(v1=6), 2.5) == (scan(v1=5), 4.5)


def test_a_swap_by_rename_is_not_a_removal() -> None:
    settling = Settling(2.0, settled=scan(v1=5))
    assert settling.observe(scan(), 0.0)[0] == scan(v1=5)
    assert settling.observe(scan(v1=6), 0.1)[0] == scan(v1=5)
    assert settling.observe(scan(v1=6), 2.1)[0] == scan(v1=6)


def test_a_removal_counts_once_it_has_lasted() -> None:
    settling = Settling(2.0, settled=scan(v1=5, v2=5))
    assert settling.observe(scan(v2=5), 0.0) == (scan(v1=5, v2=5), 2.0)
    assert settling.observe(scan(v2=5), 2.0) == (scan(v2=5), None)


def test_a_model_that_is_removed_disappears() -> None:
    settling = Settling(2.0, settled=scan(v1=5))
    settling.observe(Scan(), 0.0)
    assert settling.observe(Scan(), 2.0) == (Scan(), None)


def test_a_changed_configuration_settles_by_itself() -> None:
    settling = Settling(2.0, settled=scan(config=1, v1=5))
    assert settling.observe(scan(config=2, v1=5), 0.0)[0] == scan(config=1, v1=5)
    assert settling.observe(scan(config=2, v1=6), 2.0)[0] == scan(config=2, v1=5)


def test_what_came_and_went_leaves_nothing_behind() -> None:
    settling = Settling(2.0)
    settling.observe(scan(v1=5), 0.0)
    assert settling.observe(Scan(), 1.0) == (Scan(), None)
    assert settling.observe(scan(v1=5), 1.5)[1] == 3.5


def test_a_marked_version_counts_at_once() -> None:
    settling = Settling(2.0, has_marker=True, settled=scan(v1=5))
    assert numbers(settling.observe(scan(waiting=(2,), v1=5), 0.0)[0]) == {"m": (1,)}
    assert numbers(settling.observe(scan(v1=5, v2=5), 0.1)[0]) == {"m": (1, 2)}


def test_a_version_whose_marker_is_gone_keeps_its_settled_look() -> None:
    settling = Settling(2.0, has_marker=True, settled=scan(v1=5))
    for second in (0.0, 10.0, 20.0):
        assert numbers(settling.observe(scan(waiting=(1,)), second)[0]) == {"m": (1,)}
    assert settling.observe(scan(v1=6), 21.0)[0] == scan(v1=6)


def test_a_marked_version_that_is_removed_disappears() -> None:
    settling = Settling(2.0, has_marker=True, settled=scan(v1=5))
    settling.observe(scan(), 0.0)
    assert numbers(settling.observe(scan(), 2.0)[0]) == {"m": ()}


def test_models_settle_apart() -> None:
    one, two = scan("one", v1=5), scan("two", v1=5)
    settling = Settling(2.0, settled=one)
    both = Scan({**one.models, **two.models})
    assert settling.observe(both, 0.0)[0] == one
    settled, next_check = settling.observe(both, 2.0)
    assert (settled, next_check) == (both, None)


def test_remarks_on_ignored_entries_are_those_of_now() -> None:
    settling = Settling(2.0, settled=scan(v1=5))
    found = replace(scan(v1=5), ignored={"x": "is a file"})
    assert settling.observe(found, 0.0)[0].ignored == {"x": "is a file"}
