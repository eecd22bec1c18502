"""The network in Triton's Python backend: all requests that Triton hands over are one batch."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import triton_python_backend_utils as triton
from onnx_session import Network


class TritonPythonModel:
    """Named and called by Triton."""

    def initialize(self, args: dict[str, str]) -> None:
        self._network = Network(json.loads(args["model_config"])["parameters"]["model"]["string_value"])

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        inputs = [triton.get_input_tensor_by_name(request, "x").as_numpy() for request in requests]
        rows = self._network.run(np.concatenate(inputs))
        ends = np.cumsum([len(each) for each in inputs])[:-1]
        return [
            triton.InferenceResponse([triton.Tensor("y", np.ascontiguousarray(part))])
            for part in np.split(rows, ends)
        ]
