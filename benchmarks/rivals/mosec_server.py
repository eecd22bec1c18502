"""mosec: `mosec_server.py MODEL --port PORT` takes {"x": [numbers]} at /json, and a row's bytes at /binary.

Each answers in kind. The options are mosec's own.
"""

import os
import sys
from collections.abc import Sequence

import numpy as np
import orjson
from mosec import Runtime, Server, Worker
from onnx_session import MAX_BATCH_SIZE, Network

MODEL = "RIVAL_MODEL"
# The least that it takes; its default of 10 costs more than it brings.
WAIT_MS = 1


class JsonWorker(Worker):
    """One row a request; mosec puts the rows together.

    orjson instead of mosec's own choice, the standard library's, saves mosec a third of its CPU time.
    """

    def __init__(self) -> None:
        super().__init__()
        self._network = Network(os.environ[MODEL])

    def deserialize(self, data: bytes) -> dict[str, list[float]]:
        return orjson.loads(data)

    def serialize(self, data: dict[str, list[float]]) -> bytes:
        return orjson.dumps(data)

    def forward(self, data: Sequence[dict[str, list[float]]]) -> list[dict[str, list[float]]]:
        rows = self._network.run(np.asarray([each["x"] for each in data], np.float32))
        return [{"y": row} for row in rows.tolist()]


class BinaryWorker(Worker):
    """The same with bytes."""

    def __init__(self) -> None:
        super().__init__()
        self._network = Network(os.environ[MODEL])

    def deserialize(self, data: bytes) -> bytes:
        return data

    def serialize(self, data: bytes) -> bytes:
        return data

    def forward(self, data: Sequence[bytes]) -> list[bytes]:
        rows = np.frombuffer(b"".join(data), np.float32).reshape(len(data), -1)
        return [row.tobytes() for row in self._network.run(rows)]


def main() -> None:
    environment = [{MODEL: sys.argv[1]}]
    batching = {"num": 1, "max_batch_size": MAX_BATCH_SIZE, "max_wait_time": WAIT_MS, "env": environment}
    server = Server()
    server.register_runtime(
        {"/json": [Runtime(JsonWorker, **batching)], "/binary": [Runtime(BinaryWorker, **batching)]}
    )
    server.run()


if __name__ == "__main__":
    main()
