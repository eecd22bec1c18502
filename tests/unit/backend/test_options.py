"""How a session is planned from a configuration: Triton's parameters in ONNX Runtime's words."""

import pytest

from headrace.backend.options import plan_session
from headrace.repository.config import Accelerator, Optimization
from support.scheduling import config

CPU_PROVIDER = ("CPUExecutionProvider", {})


def test_a_plain_model_on_the_cpu_is_sequential_does_not_spin_and_is_fully_optimised():
    plan = plan_session(config(), None, 3)
    assert plan.gpu is None
    assert plan.providers == (CPU_PROVIDER,)
    assert (plan.intra_op_threads, plan.inter_op_threads, plan.is_parallel) == (3, 1, False)
    assert plan.graph_level == "all"
    assert plan.enable_mem_arena
    assert plan.enable_mem_pattern
    assert plan.session_entries == {
        "session.intra_op.allow_spinning": "0",
        "session.inter_op.allow_spinning": "0",
    }
    assert plan.run_entries == {}


def test_tritons_parameters_are_understood():
    plan = plan_session(
        config(
            parameters={
                "inter_op_thread_count": "2",
                "execution_mode": "1",
                "enable_mem_arena": "0",
                "enable_mem_pattern": "0",
                "memory.enable_memory_arena_shrinkage": "cpu:0",
                "session.intra_op.allow_spinning": "1",
                "session.set_denormal_as_zero": "1",
                "something.else": "7",
            }
        ),
        None,
        1,
    )
    assert (plan.inter_op_threads, plan.is_parallel) == (2, True)
    assert not plan.enable_mem_arena
    assert not plan.enable_mem_pattern
    assert plan.run_entries == {"memory.enable_memory_arena_shrinkage": "cpu:0"}
    assert plan.session_entries["session.intra_op.allow_spinning"] == "1"
    assert plan.session_entries["session.set_denormal_as_zero"] == "1"
    assert "something.else" not in plan.session_entries


@pytest.mark.parametrize(("level", "word"), [(None, "all"), (1, "extended"), (-1, "basic"), (2, "disabled")])
def test_graph_levels_follow_tritons_numbers(level, word):
    assert plan_session(config(optimization=Optimization(graph_level=level)), None, 1).graph_level == word


def test_a_gpu_has_cuda_first_and_the_cpu_last():
    plan = plan_session(config(parameters={"gpu_mem_limit": "1000", "use_tf32": "0"}), 2, 1)
    assert plan.gpu == 2
    cuda = ("CUDAExecutionProvider", {"device_id": "2", "gpu_mem_limit": "1000", "use_tf32": "0"})
    assert plan.providers == (cuda, CPU_PROVIDER)


def test_accelerators_come_before_cuda_and_bring_their_own_options():
    optimization = Optimization(
        gpu_accelerators=(
            Accelerator("tensorrt", {"precision_mode": "FP16", "max_workspace_size_bytes": "1024"}),
            Accelerator("cuda", {"cudnn_conv_algo_search": "1"}),
        ),
        cuda_graphs=True,
    )
    plan = plan_session(config(optimization=optimization), 0, 1)
    names = [name for name, _ in plan.providers]
    assert names == ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    tensorrt, cuda, _ = (options for _, options in plan.providers)
    assert tensorrt == {"device_id": "0", "trt_max_workspace_size": "1024", "trt_fp16_enable": "1"}
    assert cuda == {"device_id": "0", "cudnn_conv_algo_search": "1", "enable_cuda_graph": "1"}


def test_cpu_accelerators_are_for_the_cpu_only():
    optimization = Optimization(cpu_accelerators=(Accelerator("openvino", {"num_of_threads": "2"}),))
    on_cpu = plan_session(config(optimization=optimization), None, 1)
    assert on_cpu.providers == (("OpenVINOExecutionProvider", {"num_of_threads": "2"}), CPU_PROVIDER)
    on_gpu = plan_session(config(optimization=optimization), 0, 1)
    assert [name for name, _ in on_gpu.providers] == ["CUDAExecutionProvider", "CPUExecutionProvider"]
