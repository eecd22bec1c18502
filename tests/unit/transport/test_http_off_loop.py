"""Work of the gateway in threads: bounded, and not for callers who have left."""

import asyncio
import threading

from headrace.core.caller import Caller, Proof
from headrace.errors import HeadraceError, InvalidArgument, Unavailable
from headrace.transport.http.off_loop import MAX_WAITING, THREADS, OffLoop
from support.loops import run, until

ANN, BEN = (Caller(name, proof=Proof.KEY) for name in ("ann", "ben"))


class Waiting:
    """An answer that keeps what it is told."""

    def __init__(self, *, is_wanted: bool = True) -> None:
        self.is_wanted = is_wanted
        self.errors: list[HeadraceError] = []

    def complete(self, response: object) -> None:
        raise AssertionError("nothing here is complete")

    def fail(self, error: HeadraceError) -> None:
        self.errors.append(error)


def test_what_was_worked_out_comes_back_to_the_loop():
    async def main():
        found = []
        OffLoop().run(
            ANN,
            Waiting(),
            threading.current_thread,
            lambda it: found.append((it, threading.current_thread())),
        )
        await until(lambda: found)
        ((worker, caller),) = found
        assert worker is not threading.current_thread()
        assert caller is threading.current_thread()

    run(main())


def test_who_has_left_is_not_worked_for():
    async def main():
        answer, worked = Waiting(is_wanted=False), []
        OffLoop().run(ANN, answer, lambda: worked.append(1), worked.append)
        await until(lambda: answer.errors)
        assert worked == []

    run(main())


def test_what_goes_wrong_is_told_to_the_caller_alone(caplog):
    def refuse():
        raise InvalidArgument("no picture")

    def break_off():
        raise RuntimeError("a secret")

    async def main():
        off_loop, answers = OffLoop(), [Waiting() for _ in range(3)]
        off_loop.run(ANN, answers[0], refuse, lambda _: None)
        off_loop.run(ANN, answers[1], break_off, lambda _: None)
        off_loop.run(ANN, answers[2], lambda: None, lambda _: break_off())
        await until(lambda: all(answer.errors for answer in answers))
        texts = [str(answer.errors[0]) for answer in answers]
        assert texts[0] == "no picture"
        assert all("a secret" not in text for text in texts)
        assert caplog.text.count("a secret") >= 2

    run(main())


def test_more_than_can_wait_is_turned_away_and_later_taken_again():
    async def main():
        off_loop, go, done = OffLoop(), threading.Event(), []
        taken = THREADS + MAX_WAITING // 2
        answers = [Waiting() for _ in range(taken + 1)]
        for answer in answers:
            off_loop.run(ANN, answer, go.wait, done.append)
        assert [bool(answer.errors) for answer in answers] == [False] * taken + [True]
        assert isinstance(answers[-1].errors[0], Unavailable)
        go.set()
        await until(lambda: len(done) == taken)
        off_loop.run(ANN, answers[-1], lambda: None, done.append)
        await until(lambda: len(done) == taken + 1)

    run(main())


def strangers(host, count):
    return [Caller("stranger", address=f"{host}:{port}") for port in range(count)]


def test_there_is_room_for_others_however_much_some_bring_and_their_turn_comes():
    async def main():
        off_loop, go, done = OffLoop(), threading.Event(), []
        for caller in strangers("10.0.0.1", 99) + strangers("10.0.0.2", 99):
            off_loop.run(caller, Waiting(), go.wait, done.append)
        answer = Waiting()
        off_loop.run(BEN, answer, lambda: BEN, done.append)
        assert answer.errors == []
        go.set()
        await until(lambda: BEN in done)
        assert done.index(BEN) <= THREADS + 2

    run(main())


def test_strangers_are_told_apart_by_their_address_without_its_port():
    async def main():
        off_loop, go = OffLoop(), threading.Event()
        first, second = Waiting(), Waiting()
        for caller in strangers("10.0.0.1", MAX_WAITING):
            off_loop.run(caller, first, go.wait, lambda _: None)
        off_loop.run(strangers("10.0.0.2", 1)[0], second, go.wait, lambda _: None)
        assert len(first.errors) == MAX_WAITING // 2 - THREADS
        assert second.errors == []
        go.set()
        off_loop.stop()

    run(main())


def test_a_stop_waits_for_nothing_and_begins_nothing():
    async def main():
        off_loop, go, done = OffLoop(), threading.Event(), []
        answers = [Waiting() for _ in range(THREADS + 2)]
        for answer in answers:
            off_loop.run(ANN, answer, go.wait, done.append)
        off_loop.stop()
        go.set()
        await until(lambda: len(done) == THREADS)
        await asyncio.sleep(0)
        assert [bool(answer.errors) for answer in answers] == [False] * THREADS + [True] * 2

    run(main())
