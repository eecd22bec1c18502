"""The ONNX Runtime backend: sessions from checked models, executions that fail, hang or are closed."""

import threading
import time
import warnings

import numpy as np
import pytest
from onnx import ModelProto

from headrace.backend import onnx as onnx_backend
from headrace.backend.onnx import OnnxSession, gpus, runtime_description
from headrace.backend.options import plan_session
from headrace.errors import ExecutionFailed, LoadError
from headrace.repository.repository import Repository
from support.adversity_models import FOREVER, TOO_MANY, filler, picker, scaler, spinner, write_model


@pytest.fixture
def session_of(tmp_path):
    """A session of any model, made from a repository as the server makes it."""

    def make(model: ModelProto | bytes, *, threads: int = 1) -> OnnxSession:
        write_model(tmp_path, "m", model)
        source = Repository(tmp_path).read("m", 1)
        return OnnxSession(source.model, source.config, plan_session(source.config, None, threads))

    return make


def test_a_backend_executes_the_outputs_asked_for(session_of):
    backend = session_of(scaler(3)).backend()
    x = np.arange(8, dtype=np.float32).reshape(2, 4)
    (y,) = backend.execute({"x": x}, ["y"])
    np.testing.assert_array_equal(y, x * 3)


def test_an_execution_that_fails_tells_the_model_and_the_reason_in_one_line(session_of):
    backend = session_of(picker()).backend()
    with pytest.raises(ExecutionFailed, match="model 'm' failed: ") as raised:
        backend.execute({"index": np.array([[-99]])}, ["value"])
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 1100
    (value,) = backend.execute({"index": np.array([[4]])}, ["value"])
    assert value.item() == 40


def test_more_memory_than_there_is_fails_the_execution_only(session_of):
    """W04."""
    backend = session_of(filler()).backend()
    with pytest.raises(ExecutionFailed, match="memory"):
        backend.execute({"count": np.array([TOO_MANY])}, ["sum"])
    assert backend.execute({"count": np.array([3])}, ["sum"])[0].item() == 0


def test_interrupting_ends_an_execution_and_leaves_the_sessions_other_backends_alone(session_of):
    """W03."""
    session = session_of(spinner())
    stuck, other = session.backend(), session.backend()
    timer = threading.Timer(0.1, stuck.interrupt)
    timer.start()
    started = time.monotonic()
    with pytest.raises(ExecutionFailed, match="terminate"):
        stuck.execute({"spins": np.array([[FOREVER]])}, ["echo"])
    timer.join()
    assert time.monotonic() - started < 5
    assert other.execute({"spins": np.array([[5]])}, ["echo"])[0].item() == 5
    assert session.backend().execute({"spins": np.array([[6]])}, ["echo"])[0].item() == 6


def test_a_closed_backend_says_so(session_of):
    backend = session_of(scaler(1)).backend()
    backend.close()
    backend.close()
    with pytest.raises(ExecutionFailed, match="is closed"):
        backend.execute({"x": np.zeros((1, 4), np.float32)}, ["y"])


def test_a_graph_that_onnx_runtime_refuses_is_a_load_error(session_of):
    model = scaler(1)
    model.graph.node[0].op_type = "NoSuchOperator"
    with pytest.raises(LoadError, match="NoSuchOperator"):
        session_of(model)


def test_a_gpu_that_cannot_be_used_is_a_load_error(tmp_path):
    """ONNX Runtime itself would fall back to the CPU without a word."""
    if gpus():
        pytest.skip("there is a GPU")
    write_model(tmp_path, "m", scaler(1))
    source = Repository(tmp_path).read("m", 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(LoadError, match=r"GPU 0 cannot be used: .*CPUExecutionProvider"):
            OnnxSession(source.model, source.config, plan_session(source.config, 0, 1))


def test_visible_gpus_are_those_that_the_environment_names(monkeypatch):
    monkeypatch.setattr(onnx_backend.ort, "get_available_providers", lambda: [onnx_backend.CUDA])
    for text, expected in (("0,1", (0, 1)), ("", ()), ("-1", ()), ("GPU-abc", (0,)), (" 3 ", (0,))):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", text)
        assert gpus() == expected
    monkeypatch.setattr(onnx_backend.ort, "get_available_providers", lambda: ["CPUExecutionProvider"])
    assert gpus() == ()


def test_a_model_changed_on_disk_is_not_what_was_loaded(session_of, tmp_path):
    """L04."""
    session = session_of(scaler(3))
    (tmp_path / "m" / "1" / "model.onnx").write_bytes(b"")
    (y,) = session.backend().execute({"x": np.ones((1, 4), np.float32)}, ["y"])
    assert y[0, 0] == 3


def test_several_threads_may_execute_one_session(session_of):
    session = session_of(scaler(2))
    wrong = []

    def execute(number):
        backend = session.backend()
        for turn in range(200):
            x = np.full((3, 4), number * 1000 + turn, np.float32)
            (y,) = backend.execute({"x": x}, ["y"])
            if not np.array_equal(y, x * 2):
                wrong.append((number, turn))

    threads = [threading.Thread(target=execute, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_the_runtime_describes_itself():
    assert "CPUExecutionProvider" in runtime_description()
