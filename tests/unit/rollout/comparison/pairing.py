"""Pairs as tests want them."""

import numpy as np

from headrace.core import strings
from headrace.core.request import InferenceResponse, Timings
from headrace.core.tensor import DATATYPES, Tensor
from headrace.router.shadow.pair import Pair


def output(name, values, datatype="FP32", shape=None):
    """A tensor of `values`; BYTES from str or bytes."""
    kind = DATATYPES[datatype]
    if datatype == "BYTES":
        elements = [value.encode() if isinstance(value, str) else value for value in np.ravel(values)]
        return Tensor(name, kind, shape or np.shape(values), strings.pack(elements))
    if datatype == "BF16":
        bits = (np.asarray(values, np.float32).view(np.uint32) >> 16).astype(np.uint16)
        return Tensor(name, kind, shape or bits.shape, bits.tobytes())
    array = np.asarray(values, kind.numpy)
    return Tensor(name, kind, shape or array.shape, array.tobytes())


def response(*outputs, version=1, timings=None):
    return InferenceResponse("m", str(version), "", list(outputs), timings=timings)


def pair(live, shadow, **changes):
    """Of two answers, or of two lists of outputs."""
    if isinstance(live, (list, tuple)):
        live = response(*live)
    if isinstance(shadow, (list, tuple)):
        shadow = response(*shadow, version=2)
    known = {
        "model": "m",
        "live_version": 1,
        "shadow_version": 2,
        "request_id": "",
        "at_ns": 1_700_000_000_000_000_000,
        "live": live,
        "shadow": shadow,
        "live_ns": 2_000_000,
        "shadow_ns": 3_000_000,
    }
    return Pair(**{**known, **changes})


def timings(infer_ns, rows=1):
    return Timings(compute_infer_ns=infer_ns, batch_rows=rows)
