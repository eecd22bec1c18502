"""LitServe: `litserve_server.py MODEL PORT` takes {"x": [numbers]} at /predict, answers {"y": [numbers]}."""

import sys
from collections.abc import Sequence

import litserve
import numpy as np
from onnx_session import MAX_BATCH_SIZE, Network

# Its batcher looks for requests without a pause where this is 0, and keeps a core busy when there are none.
BATCH_TIMEOUT_S = 0.01
API_SERVERS = 2


class Tiny(litserve.LitAPI):
    """One row a request; LitServe puts the rows together."""

    def __init__(self, path: str) -> None:
        super().__init__(max_batch_size=MAX_BATCH_SIZE, batch_timeout=BATCH_TIMEOUT_S)
        self._path = path

    def setup(self, device: str) -> None:
        self._network = Network(self._path)

    def decode_request(self, request: dict[str, list[float]]) -> np.ndarray:
        return np.asarray(request["x"], np.float32)

    def batch(self, inputs: Sequence[np.ndarray]) -> np.ndarray:
        return np.stack(inputs)

    def predict(self, x: np.ndarray) -> np.ndarray:
        return self._network.run(x)

    def unbatch(self, output: np.ndarray) -> list[list[float]]:
        return output.tolist()

    def encode_response(self, output: list[float]) -> dict[str, list[float]]:
        return {"y": output}


def main() -> None:
    path, port = sys.argv[1:]
    server = litserve.LitServer(Tiny(path), accelerator="cpu", workers_per_device=1, fast_queue=True)
    server.run(
        host="127.0.0.1",
        port=int(port),
        num_api_servers=API_SERVERS,
        log_level="warning",
        access_log=False,
        generate_client_file=False,
    )


if __name__ == "__main__":
    main()
