"""Steps that are taken again and again."""

import asyncio

from headrace.security.repeating import Repeating
from support.loops import run, until


def test_a_step_that_fails_is_tried_again_and_told_of(caplog):
    taken = []

    def step():
        taken.append(len(taken))
        if len(taken) == 1:
            raise KeyError("bug")

    async def main():
        repeating = Repeating(0.001, step)
        repeating.start()
        await until(lambda: len(taken) >= 3)
        await repeating.stop()
        count = len(taken)
        await asyncio.sleep(0.01)
        assert len(taken) == count

    run(main())
    assert [record.exc_info[0] for record in caplog.records] == [KeyError]
