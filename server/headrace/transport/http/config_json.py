"""A model's configuration as Triton's JSON of it: every field there is, by its name in the `.proto`."""

from typing import Any

from headrace.pb.inference.model_config_pb2 import ModelConfig
from headrace.transport.message_json import message_json


def config_json(serialised: bytes) -> dict[str, Any]:
    """The configuration in `serialised`, an inference.ModelConfig; fields that are not set have defaults."""
    return message_json(ModelConfig.FromString(serialised))
