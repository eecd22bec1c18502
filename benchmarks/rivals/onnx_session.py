"""The network under every rival, as headrace has it for small models: one thread, no spinning."""

import numpy as np
import onnxruntime

MAX_BATCH_SIZE = 64


class Network:
    """Rows in, rows out, for a graph with one input `x` and one output `y`."""

    def __init__(self, path: str) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def run(self, rows: np.ndarray) -> np.ndarray:
        return self._session.run(["y"], {"x": rows})[0]
