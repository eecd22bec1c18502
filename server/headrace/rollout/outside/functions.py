"""Gates that are functions of the operator's own, imported at the start."""

import asyncio
import copy
import importlib
import inspect
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from headrace.errors import ConfigError
from headrace.rollout.outside.gate_answer import GateAnswer, shortened, waits
from headrace.rollout.outside.threads import Threads

Evidence: TypeAlias = Mapping[str, Any]
GateFunction: TypeAlias = Callable[[dict[str, Any]], object]

TIMEOUT_S = 5.0
_FORM = re.compile(r"(?:(?P<name>[^=\s]+)=)?(?P<module>[\w.]+):(?P<function>\w+)")
_EXPECTED = "expected name=package.module:function, or package.module:function"


class GateFunctions:
    """Functions by the names by which plans call them; each runs once at a time, for `timeout_s` at most.

    Plain ones run in a thread, which nobody waits for any longer after that; coroutines run on the loop, and
    are cancelled.
    """

    def __init__(self, given: Sequence[str], timeout_s: float = TIMEOUT_S) -> None:
        self._given = given
        self._timeout_s = timeout_s
        self._functions: dict[str, _OneAtATime] = {}

    @property
    def names(self) -> Sequence[str]:
        return tuple(self._functions)

    def load(self) -> None:
        """Imports them, and blocks meanwhile; ConfigError names the one that does not do."""
        functions: dict[str, _OneAtATime] = {}
        for text in self._given:
            match = _FORM.fullmatch(text)
            if match is None:
                raise _refusal(text, "is not valid")
            name = match["name"] or match["function"]
            if name in functions:
                raise ConfigError(f"rollout.gate_functions: '{name}' is given twice: expected other names")
            function = _imported(text, match["module"], match["function"])
            functions[name] = _OneAtATime(name, function, self._timeout_s)
        self._functions = functions

    async def call(self, name: str, evidence: Evidence) -> GateAnswer:
        """What the function says; whatever goes wrong in it, the gate waits."""
        function = self._functions.get(name)
        if function is None:
            offered = ", ".join(self._functions) or "none"
            return waits(f"the server offers no function of this name: rollout.gate_functions has {offered}")
        return await function.call(copy.deepcopy(dict(evidence)))

    async def stop(self) -> None:
        """Cancels what still runs on the loop."""
        await asyncio.gather(*(each.stop() for each in self._functions.values()))


class _OneAtATime:
    """One function, and its call under way; other calls wait for their turn, but not for one that hangs."""

    def __init__(self, name: str, function: GateFunction, timeout_s: float) -> None:
        self._function = function
        self._timeout_s = timeout_s
        self._is_coroutine = _is_coroutine(function)
        self._threads = Threads(f"headrace gate {name}")
        self._turn = asyncio.Lock()
        self._task: asyncio.Task[GateAnswer] | None = None

    async def call(self, evidence: dict[str, Any]) -> GateAnswer:
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._turn.acquire()
        except TimeoutError:
            return waits(f"earlier calls took {self._timeout_s:g} s")
        try:
            return await self._call(evidence)
        finally:
            self._turn.release()

    async def _call(self, evidence: dict[str, Any]) -> GateAnswer:
        if self._threads.are_busy or (self._task is not None and not self._task.done()):
            return waits("an earlier call still runs")
        self._task = asyncio.get_running_loop().create_task(self._answer(evidence))
        try:
            await asyncio.wait([self._task], timeout=self._timeout_s)
        finally:
            # A coroutine may go on regardless: then it is asked no more until it ends.
            self._task.cancel()
        if not self._task.done():
            return waits(f"no answer within {self._timeout_s:g} s")
        return waits("the call was cancelled") if self._task.cancelled() else self._task.result()

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task], timeout=self._timeout_s)

    async def _answer(self, evidence: dict[str, Any]) -> GateAnswer:
        """Never raises: SystemExit would end the loop."""
        try:
            if self._is_coroutine:
                return _read(await _awaitable(self._function(evidence)))
            return _read(await self._threads.run(lambda: self._function(evidence)))
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            return waits(f"the function raised {type(error).__name__}: {error}")


def _imported(text: str, module: str, name: str) -> GateFunction:
    try:
        function = getattr(importlib.import_module(module), name, None)
    except Exception as error:
        raise _refusal(text, f"cannot be imported ({type(error).__name__}: {error})") from error
    if function is None:
        raise _refusal(text, f"cannot be imported (module '{module}' has no '{name}')")
    if not callable(function):
        raise _refusal(text, f"is of type {type(function).__name__}, and no function")
    try:
        inspect.signature(function).bind({})
    except TypeError as error:
        problem = f"cannot be called with the evidence alone ({error})"
        raise _refusal(text, problem) from None
    except ValueError:
        # Some that are written in C do not tell.
        pass
    return function  # type: ignore[no-any-return]


def _refusal(text: str, problem: str) -> ConfigError:
    return ConfigError(f"rollout.gate_functions: '{text}' {problem}: {_EXPECTED}")


def _is_coroutine(function: GateFunction) -> bool:
    """True for `async def`, and for objects whose `__call__` is one."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004  what is called is asked for, not whether it can be
    )


async def _awaitable(answer: object) -> object:
    assert isinstance(answer, Awaitable)
    return await answer


def _read(answer: object) -> GateAnswer:
    """A verdict (True, False, or None to wait), or a pair of one and a text that says why."""
    verdict, detail = answer if isinstance(answer, tuple) and len(answer) == 2 else (answer, "")
    if not isinstance(verdict, bool | np.bool_ | None) or not isinstance(detail, str):
        if inspect.iscoroutine(answer):
            answer.close()
        return waits(
            f"the function answered {answer!r}: expected True, False or None, or one of them and a text"
        )
    is_passed = None if verdict is None else bool(verdict)
    return GateAnswer(is_passed, shortened(detail) or _WORDS[is_passed])


_WORDS = {True: "the function says yes", False: "the function says no", None: "the function waits"}
