"""Requests that a model of support.onnx_models refuses, over any protocol, and the words that say why."""

REFUSALS = [
    (
        "identity_fp32",
        [("z", "FP32", (1, 3))],
        "unexpected inference input 'z' for model 'identity_fp32'",
    ),
    ("identity_fp32", [("x", "FP64", (1, 3))], "inference input 'x' data-type is 'FP64', but model"),
    ("sums", [("a", "FP32", (1, 4))], "expected 2 inputs but got 1 inputs for model 'sums'"),
    ("sums", [("a", "FP32", (1, 4)), ("b", "FP32", (2, 4))], "input 'b' batch size does not match other"),
    ("sums", [("a", "FP32", (1, 4)), ("b", "FP32", (1, 5))], "unexpected shape for input 'b' for model"),
    ("labelled", [("x", "FP32", (33, 3))], "inference request batch-size must be <= 32 for 'labelled'"),
    ("labelled", [("x", "FP32", (1, 4))], "Expected [-1,3], got [1,4]"),
]
