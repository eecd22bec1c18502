"""BentoML: `bentoml serve bentoml_service:Tiny` takes {"x": [rows]} at /infer and answers rows.

The model's path is in the environment variable RIVAL_MODEL.
"""

import os
from typing import Annotated

import bentoml
import numpy as np
from bentoml.validators import DType
from onnx_session import MAX_BATCH_SIZE, Network

Rows = Annotated[np.ndarray, DType("float32")]


@bentoml.service(workers=1, logging={"access": {"enabled": False}}, metrics={"enabled": False})
class Tiny:
    """A row or more a request; BentoML puts the rows together."""

    def __init__(self) -> None:
        self._network = Network(os.environ["RIVAL_MODEL"])

    @bentoml.api(batchable=True, max_batch_size=MAX_BATCH_SIZE, max_latency_ms=1000)
    def infer(self, x: Rows) -> Rows:
        return self._network.run(x)
