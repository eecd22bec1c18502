"""Golden requests where a version is loaded: on every session, by the path of live requests, in time."""

import asyncio
import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headrace.backend.onnx import OnnxSession
from headrace.backend.options import plan_session
from headrace.errors import ExecutionFailed, LoadError, OutputMismatch
from headrace.instance.planner import Machine
from headrace.model import loader as loader_module
from headrace.model.golden import MAX_TOLD, GoldenCheck
from headrace.model.loader import Loader
from headrace.model.model import Model
from headrace.repository.override import Override
from headrace.repository.problems import InvalidModel
from headrace.repository.repository import Repository, VersionSource
from headrace.settings import ExecutionSettings
from support import onnx_models
from support.adversity_models import FOREVER, scaler, spinner, write_model
from support.loops import run

X = {"name": "x", "datatype": "FP32", "shape": [2, 4], "data": [1, 2, 3, 4, 5, 6, 7, 8]}
THREEFOLD = {"inputs": [X], "outputs": [{"name": "y", "data": [3, 6, 9, 12, 15, 18, 21, 24]}]}


def write_golden(repository: Path, content: object, model: str = "m", name: str = "a.json") -> None:
    folder = repository / model / "1" / "golden"
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(json.dumps(content))


def load(repository: Path, machine: Machine | None = None, **settings: Any) -> None:
    """Loads `m` and lets it go; raises what the loader raises."""

    async def main() -> None:
        executor = ThreadPoolExecutor(1)
        execution = ExecutionSettings(**settings)
        loop = asyncio.get_running_loop()
        loader = Loader(Repository(repository), machine or Machine(2), execution, executor, loop)
        try:
            model: Model = await loader.load("m", 1, Override(), 0)
            assert model.statistics.success.count == 0
            await model.retire()
        finally:
            executor.shutdown()

    run(main())


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The devices on which golden requests were run."""
    devices: list[str] = []

    class Recording(GoldenCheck):
        def run(self, backend: Any, device: str, timeout_s: float) -> None:
            devices.append(device)
            super().run(backend, device, timeout_s)

    monkeypatch.setattr(loader_module, "GoldenCheck", Recording)
    return devices


@pytest.mark.parametrize("warmup", [True, False], ids=["warm", "cold"])
def test_a_version_that_answers_as_expected_is_loaded_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, warmup: bool
) -> None:
    write_model(tmp_path, "m", scaler(3))
    write_golden(tmp_path, THREEFOLD)
    with caplog.at_level("INFO"):
        load(tmp_path, warmup=warmup)
    assert "'m' version 1 answers all golden requests (1) as expected" in caplog.messages


@pytest.mark.parametrize("warmup", [True, False], ids=["warm", "cold"])
def test_a_version_that_answers_otherwise_is_not_loaded(tmp_path: Path, warmup: bool) -> None:
    write_model(tmp_path, "m", scaler(2))
    write_golden(tmp_path, THREEFOLD)
    with pytest.raises(LoadError) as caught:
        load(tmp_path, warmup=warmup)
    assert str(caught.value) == (
        "m/1/golden/a.json: output 'y' on cpu: 8 of 8 elements are off; the worst, [1, 3], is 16.0, "
        "but 24.0 is expected, off by 8 with a tolerance of 0.0025"
    )


def test_every_file_that_is_not_answered_as_expected_is_told(tmp_path: Path) -> None:
    write_model(tmp_path, "m", scaler(2))
    for number in range(3):
        write_golden(tmp_path, THREEFOLD, name=f"{number}.json")
    write_golden(tmp_path, {"inputs": [X], "outputs": [{"name": "y", "finite": True}]}, name="good.json")
    with pytest.raises(InvalidModel) as caught:
        load(tmp_path)
    assert [problem.file for problem in caught.value.problems] == [f"m/1/golden/{n}.json" for n in range(3)]


def test_no_more_is_told_than_anybody_reads(tmp_path: Path) -> None:
    write_model(tmp_path, "m", scaler(2))
    for number in range(MAX_TOLD + 5):
        write_golden(tmp_path, THREEFOLD, name=f"{number}.json")
    with pytest.raises(InvalidModel) as caught:
        load(tmp_path)
    assert len(caught.value.problems) == MAX_TOLD


@pytest.mark.parametrize(
    ("config", "count"),
    [
        ("instance_group: [{count: 2}]\n", 1),
        ("instance_group: [{count: 2}]\nparameters: {intra_op_thread_count: 2}\n", 2),
        ("instance_group: [{count: 1}]\n", 1),
    ],
    ids=["shared", "of_its_own_each", "one"],
)
def test_every_session_is_tried_once(tmp_path: Path, ran: list[str], config: str, count: int) -> None:
    write_model(tmp_path, "m", scaler(3), config=config)
    write_golden(tmp_path, THREEFOLD)
    load(tmp_path, Machine(2))
    assert ran == ["cpu"] * count


def test_a_golden_request_that_hangs_is_interrupted(tmp_path: Path) -> None:
    config = "max_batch_size: 8\nparameters: {execution_timeout_ms: 100}\n"
    write_model(tmp_path, "m", spinner(), config=config)
    spins = {"name": "spins", "datatype": "INT64", "shape": [1, 1], "data": [FOREVER]}
    write_golden(tmp_path, {"inputs": [spins], "outputs": [{"name": "echo", "data": [FOREVER]}]})
    write_golden(tmp_path, {"inputs": [spins], "outputs": [{"name": "echo", "data": [1]}]}, name="b.json")
    started = time.monotonic()
    with pytest.raises(LoadError, match=r"^m/1/golden/a\.json: failed on cpu: model 'm' failed"):
        load(tmp_path, warmup=False)
    assert time.monotonic() - started < 5


def source(tmp_path: Path, model: str, content: object) -> VersionSource:
    onnx_models.write_models(tmp_path, model)
    write_golden(tmp_path, content, model)
    return Repository(tmp_path).read(model, 1)


class Backend:
    """Answers with `arrays`, and remembers the inputs."""

    def __init__(self, *arrays: Any) -> None:
        self.arrays = list(arrays)
        self.inputs: dict[str, Any] = {}
        self.outputs: list[str] = []

    def execute(self, inputs: Any, outputs: Any) -> Any:
        self.inputs, self.outputs = dict(inputs), list(outputs)
        if isinstance(self.arrays[0], Exception):
            raise self.arrays[0]
        return self.arrays

    def interrupt(self) -> None: ...

    def close(self) -> None: ...


def x_of(rows: int, width: int = 3) -> dict[str, object]:
    return {"name": "x", "datatype": "FP32", "shape": [rows, width], "data": [[7] * width] * rows}


def test_a_batch_of_a_fixed_size_is_padded_as_live_ones_are(tmp_path: Path) -> None:
    content = {"inputs": [x_of(2)], "outputs": [{"name": "y", "data": [[7] * 3] * 2}]}
    backend = Backend(np.array([[7] * 3, [7] * 3, [0] * 3, [0] * 3], np.float32))
    GoldenCheck(source(tmp_path, "fixed_batch", content)).run(backend, "cpu", 0)
    assert backend.inputs["x"].shape == (4, 3)


def test_only_named_outputs_are_asked_for_in_the_files_order(tmp_path: Path) -> None:
    inputs = [{"name": name, "datatype": "FP32", "shape": [1, 4], "data": [1] * 4} for name in ("b", "a")]
    content = {
        "inputs": inputs,
        "outputs": [{"name": "first", "data": [1] * 4}, {"name": "sum", "data": [2] * 4}],
    }
    backend = Backend(np.full((1, 4), 1, np.float32), np.full((1, 4), 2, np.float32))
    GoldenCheck(source(tmp_path, "sums", content)).run(backend, "cpu", 0)
    assert backend.outputs == ["first", "sum"]


def test_an_optional_input_that_is_not_given_is_left_out(tmp_path: Path) -> None:
    x = {"name": "x", "datatype": "FP32", "shape": [4], "data": [1] * 4}
    backend = Backend(np.full(4, 101, np.float32))
    GoldenCheck(
        source(tmp_path, "optional", {"inputs": [x], "outputs": [{"name": "y", "data": [101] * 4}]})
    ).run(backend, "cpu", 0)
    assert list(backend.inputs) == ["x"]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (ExecutionFailed("model 'm' failed: no memory"), "failed on gpu:0: model 'm' failed: no memory"),
        (OutputMismatch("of no use"), "failed on gpu:0: of no use"),
        (
            np.zeros((1, 3), np.float32),
            "failed on gpu:0: model 'fixed_batch' version 1 gave output 'y' with shape",
        ),
        (
            np.zeros((4, 3), np.float64),
            "failed on gpu:0: model 'fixed_batch' version 1 gave output 'y' as float64",
        ),
        (np.zeros((4, 3), np.float32), "output 'y' on gpu:0: 3 of 3 elements are off"),
    ],
    ids=["execution", "mismatch", "shape", "datatype", "numbers"],
)
def test_whatever_goes_wrong_is_told_with_file_and_device(tmp_path: Path, answer: Any, reason: str) -> None:
    content = {"inputs": [x_of(1)], "outputs": [{"name": "y", "data": [1, 1, 1]}]}
    with pytest.raises(InvalidModel) as caught:
        GoldenCheck(source(tmp_path, "fixed_batch", content)).run(Backend(answer), "gpu:0", 0)
    assert str(caught.value).startswith(f"fixed_batch/1/golden/a.json: {reason}")


@pytest.mark.parametrize("datatype", onnx_models.ELEMENT_TYPES)
def test_every_datatype_goes_in_and_comes_out(tmp_path: Path, datatype: str) -> None:
    data: list[Any] = {"BOOL": [True, False] * 3, "BYTES": ["", "é", "c", "d", "e", "f"]}.get(
        datatype, [0, 1, 2, 3, 4, 100]
    )
    x = {"name": "x", "datatype": datatype, "shape": [2, 3], "data": data}
    content = {"inputs": [x], "outputs": [{"name": "y", "data": data}]}
    found = source(tmp_path, f"identity_{datatype.lower()}", content)
    session = OnnxSession(found.model, found.config, plan_session(found.config, None, 1))
    GoldenCheck(found).run(session.backend(), "cpu", 0)
    content["outputs"] = [{"name": "y", "data": data[::-1]}]
    with pytest.raises(InvalidModel, match="elements are off"):
        GoldenCheck(source(tmp_path, f"identity_{datatype.lower()}", content)).run(
            session.backend(), "cpu", 0
        )
