"""Text in ONNX messages, which protobuf hands over as bytes where it is not UTF-8."""


def text(value: object) -> str:
    """`value` as text; ValueError where it is not UTF-8."""
    if isinstance(value, str):
        return value
    raise ValueError(f"holds a name or text that is not UTF-8: {value!r}")
