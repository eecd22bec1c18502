"""Any mix of sizes, shapes, priorities and leaving callers gives each caller exactly its own rows, once."""

import asyncio
import random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.core import strings
from headrace.core.tensor import DATATYPES, DataType
from headrace.repository.config import DynamicBatching
from support.loops import run
from support.scheduling import Doubler, RecordedReply, Rig, config, request, spec, tensor

CALLS = st.lists(
    st.tuples(
        st.integers(1, 8),  # rows
        st.integers(0, 3),  # width
        st.integers(0, 3),  # priority
        st.sampled_from(["stays", "leaves", "is late"]),
        st.integers(0, 2),  # pauses before
    ),
    min_size=1,
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(
    calls=CALLS,
    preferred=st.sampled_from([(), (2,), (4, 8)]),
    delay_us=st.sampled_from([0, 0, 500]),
    instances=st.integers(1, 3),
    ordered=st.booleans(),
)
def test_each_caller_gets_exactly_its_own_rows_once(calls, preferred, delay_us, instances, ordered):
    async def main():
        batching = DynamicBatching(
            preferred_batch_sizes=preferred,
            max_queue_delay_us=delay_us,
            preserve_ordering=ordered,
            priority_levels=2,
            default_priority_level=2,
        )
        backends = [Doubler() for _ in range(instances)]
        rig = Rig(config(dynamic_batching=batching), *backends)
        rig.open()
        sent = []
        for number, (count, width, priority, fate, pauses) in enumerate(calls):
            for _ in range(pauses):
                await asyncio.sleep(0)
            array = np.full((count, width), number, np.float32)
            changes = {"parameters": {"priority": priority}}
            if fate == "is late":
                changes["deadline_ns"] = 1
            reply = rig.send(array, **changes)
            sent.append((array, fate, reply))
            if fate == "leaves" and number % 2:
                sent[number // 2][2].is_wanted = False
        await rig.stop()
        for array, fate, reply in sent:
            assert reply.answer_count == 1
            if reply.responses:
                np.testing.assert_array_equal(reply.values, array * 2)
            else:
                assert fate == "is late" or not reply.is_wanted
        assert all(rows <= 8 for backend in backends for rows in backend.batches)
        assert rig.queue.size == 0
        assert rig.scheduler.is_idle

    run(main())


NUMERIC = [datatype for datatype in DataType if datatype is not DataType.BYTES]


@settings(max_examples=150, deadline=None)
@given(data=st.data(), sizes=st.lists(st.integers(1, 5), min_size=1, max_size=6))
def test_splitting_a_joined_batch_gives_back_the_inputs(data, sizes):
    datatype = data.draw(st.sampled_from(list(DataType)))
    width = data.draw(st.integers(0, 3))
    seed = data.draw(st.integers(0, 2**32))

    class Echo(Doubler):
        def execute(self, inputs, outputs):
            return [inputs["x"]]

    async def main():
        name = datatype.value
        model = config(inputs=(spec("x", name),), outputs=(spec("y", name),), max_batch_size=64)
        rig = Rig(model, Echo())
        generator = random.Random(seed)
        sent = []
        for size in sizes:
            if datatype is DataType.BYTES:
                texts = [generator.choice(["", "a", "grün", "x\0y"]).encode() for _ in range(size * width)]
                content = strings.pack(texts)
            else:
                content = generator.randbytes(size * width * datatype.item_bytes)
                if datatype is DataType.BOOL:
                    content = bytes(byte & 1 for byte in content)
            made = request(np.zeros((1, 1), np.float32))
            made.inputs = [tensor("x", np.zeros((size, width), np.float32))]
            made.inputs[0].datatype = DATATYPES[name]
            made.inputs[0].data = content
            reply = RecordedReply()
            rig.scheduler.submit(rig.signature.admit(made, reply))
            sent.append((content, (size, width), reply))
        await rig.stop()
        for content, shape, reply in sent:
            (output,) = reply.responses[0].outputs
            assert bytes(output.data) == content
            assert output.shape == shape

    run(main())
