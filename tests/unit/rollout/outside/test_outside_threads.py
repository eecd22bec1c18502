"""Threads for calls that may hang."""

import asyncio
import threading

import pytest

from headrace.rollout.outside.threads import Threads
from support.loops import run, until


def raising(error):
    def call():
        raise error

    return call


def test_a_call_returns_or_raises_what_it_does_in_another_thread():
    async def main():
        threads = Threads("headrace test")
        assert await threads.run(threading.get_ident) != threading.get_ident()
        with pytest.raises(KeyError, match="gone"):
            await threads.run(raising(KeyError("gone")))

    run(main())


@pytest.mark.parametrize("error", [SystemExit(3), StopIteration(), asyncio.CancelledError(), GeneratorExit()])
def test_what_would_end_the_loop_is_a_runtime_error(error):
    async def main():
        with pytest.raises(RuntimeError):
            await Threads("headrace test").run(raising(error))

    run(main())


def test_a_thread_that_hangs_counts_until_it_ends():
    go_on = threading.Event()

    async def main():
        threads = Threads("headrace test")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await threads.run(lambda: go_on.wait(10))
        assert threads.are_busy
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await threads.run(lambda: None)
        go_on.set()
        await until(lambda: not threads.are_busy)
        assert await threads.run(lambda: 5) == 5

    run(main())


def test_a_thread_that_ends_after_its_loop_harms_nobody():
    go_on = threading.Event()

    async def main():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await Threads("headrace test").run(lambda: go_on.wait(10))

    run(main())
    go_on.set()
