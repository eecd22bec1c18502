"""One caller sends far more than there is time for: the others hardly notice."""

import asyncio
import hashlib
import json
import statistics
import time
from collections import Counter
from dataclasses import dataclass, field

import grpc.aio
import pytest

from adversity.clients import EXPLICIT, Caller, eventually, request, run, spins
from adversity.observing import Metrics, assert_sound
from support.adversity_models import spinner, write_model
from support.server import ServerProcess

# Some milliseconds on a machine of today.
SPINS = 2000
QUEUED = 32
MODELS = {
    "single": "max_batch_size: 1",
    "joined": "max_batch_size: 4",
}
CONFIG = """
instance_group: [{kind: KIND_CPU, count: 1}]
dynamic_batching: {default_queue_policy: {max_queue_size: %d}}
"""
KEYS = {"noisy": "key-of-the-noisy-one", "quiet": "key-of-the-quiet-one"}
ACCESS = {
    "roles": {"scorer": {"infer": ["*"]}, "watcher": {"read": ["*"]}},
    "keys": [
        {"name": name, "sha256": hashlib.sha256(key.encode()).hexdigest(), "roles": ["scorer"]}
        for name, key in KEYS.items()
    ],
    "anonymous": {"roles": ["watcher"]},
}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("neighbours")
    models = folder / "models"
    models.mkdir()
    for name, config in MODELS.items():
        write_model(models, name, spinner(), config=config + CONFIG % QUEUED)
    access = folder / "access.yaml"
    access.write_text(json.dumps(ACCESS))  # JSON is YAML
    with ServerProcess(models, *EXPLICIT, f"--access-file={access}", "--tune-batch-size=false") as server:
        yield server


@dataclass
class Seen:
    """What one who sends has seen; `errors` by their text."""

    answered_s: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)

    async def ask(self, caller: Caller, model: str, name: str) -> None:
        started = time.monotonic()
        metadata = (("authorization", f"Bearer {KEYS[name]}"),)
        try:
            await caller.stub.ModelInfer(request(model, "spins", spins(SPINS)), timeout=30, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            self.errors[f"{error.code().name}: {error.details()}"] += 1
        else:
            self.answered_s.append(time.monotonic() - started)


@pytest.mark.parametrize("model", MODELS)
def test_a_caller_who_floods_a_model_neither_shuts_out_nor_holds_up_another(server, model):
    noisy, quiet = Seen(), Seen()
    is_over = False

    async def flood(caller: Caller) -> None:
        while not is_over:
            refused = noisy.errors.total()
            await noisy.ask(caller, model, "noisy")
            if noisy.errors.total() > refused:
                await asyncio.sleep(0.05)

    async def main():
        nonlocal is_over
        async with Caller(server.grpc_url) as one, Caller(server.grpc_url) as other:
            flooding = [asyncio.create_task(flood(one)) for _ in range(2 * QUEUED)]
            await eventually(lambda: noisy.errors)
            for _ in range(25):
                await quiet.ask(other, model, "quiet")
            is_over = True
            await asyncio.gather(*flooding)

    run(main())
    assert not quiet.errors
    # The noisy one waits for the whole queue: 8 batches or more, where the quiet one waits for one to three.
    noisy_s, quiet_s = map(statistics.median, (noisy.answered_s, quiet.answered_s))
    assert quiet_s < noisy_s / 2, (quiet_s, noisy_s)
    assert len(noisy.answered_s) >= len(quiet.answered_s)
    assert noisy.errors
    assert all(text.startswith("UNAVAILABLE: Exceeds maximum queue size") for text in noisy.errors)
    refused = Metrics(server).value("headrace_rejected_total", model=model, reason="queue_full")
    assert refused == noisy.errors.total()
    assert_sound(server)
