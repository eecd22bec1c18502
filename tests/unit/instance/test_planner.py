"""The planner: where each instance goes, and how many threads of the machine it gets."""

import pytest

from headrace.errors import LoadError
from headrace.instance.planner import Device, Machine, default_instance_count, place
from headrace.repository.config import InstanceGroup, InstanceKind
from support.scheduling import config

AUTO, CPU, GPU = InstanceKind.AUTO, InstanceKind.CPU, InstanceKind.GPU


def planned(machine, *groups, default_count=0, others=0, **changes):
    placements, remarks = place(config(instance_groups=groups, **changes), machine, default_count, others)
    return [(each.name, str(each.device), each.threads) for each in placements], remarks


@pytest.mark.parametrize(
    ("cores", "others", "expected"),
    [
        (1, 0, [("m_0", "cpu", 1)]),
        (2, 0, [("m_0", "cpu", 1), ("m_1", "cpu", 1)]),
        (8, 0, [("m_0", "cpu", 4), ("m_1", "cpu", 4)]),
        (8, 2, [("m_0", "cpu", 2), ("m_1", "cpu", 2)]),
        (8, 100, [("m_0", "cpu", 1), ("m_1", "cpu", 1)]),
    ],
)
def test_instances_of_all_models_share_the_cores(cores, others, expected):
    assert planned(Machine(cores), others=others)[0] == expected


def test_a_default_count_is_taken_where_the_configuration_names_none():
    assert len(planned(Machine(8), default_count=3)[0]) == 3
    assert len(planned(Machine(8), InstanceGroup("g", 5, CPU), default_count=3)[0]) == 5
    assert [default_instance_count(Machine(cores)) for cores in (1, 2, 64)] == [1, 2, 2]


def test_more_threads_than_cores_are_remarked_on():
    placements, remarks = planned(
        Machine(2), InstanceGroup("g", 2, CPU), parameters={"intra_op_thread_count": "4"}
    )
    assert [threads for _, _, threads in placements] == [4, 4]
    assert remarks == ["'m' uses 2 instances x 4 threads on 2 cores"]


def test_a_gpu_that_is_asked_for_and_not_there_is_a_clear_refusal():
    with pytest.raises(LoadError, match="group 'g' of model 'm' asks for KIND_GPU, but no GPU can be used"):
        planned(Machine(4), InstanceGroup("g", 1, GPU))
    with pytest.raises(LoadError, match=r"asks for gpus \[1, 7\], but this machine has \[0\]"):
        planned(Machine(4, (0,)), InstanceGroup("g", 1, GPU, (0, 1, 7)))


def test_auto_falls_back_to_the_cpu_and_says_so_where_gpus_were_named():
    placements, remarks = planned(Machine(4), InstanceGroup("g", 2, AUTO, (0, 1)))
    assert placements == [("g_0", "cpu", 2), ("g_1", "cpu", 2)]
    assert remarks == ["'m' asks for GPUs [0, 1] if there are any: there are none, it runs on the CPU"]
    assert planned(Machine(4), InstanceGroup("g", 2, AUTO))[1] == []


@pytest.mark.parametrize("kind", [AUTO, GPU])
def test_a_group_on_gpus_has_its_count_on_each(kind):
    machine = Machine(4, (0, 1))
    assert planned(machine, InstanceGroup("g", 2, kind))[0] == [
        ("g_0", "gpu:0", 1),
        ("g_1", "gpu:0", 1),
        ("g_2", "gpu:1", 1),
        ("g_3", "gpu:1", 1),
    ]
    assert planned(machine, InstanceGroup("g", 0, kind, (1,)))[0] == [("g_0", "gpu:1", 1)]


def test_cpu_instances_beside_gpu_ones_have_the_cores_to_themselves():
    groups = (InstanceGroup("fast", 1, GPU), InstanceGroup("slow", 2, CPU))
    assert planned(Machine(8, (0,)), *groups)[0] == [
        ("fast_0", "gpu:0", 1),
        ("slow_0", "cpu", 4),
        ("slow_1", "cpu", 4),
    ]


def test_devices_have_names():
    assert [str(Device()), str(Device(3))] == ["cpu", "gpu:3"]
