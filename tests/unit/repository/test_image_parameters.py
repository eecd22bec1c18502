"""How a picture becomes an input, as a model's parameters say, or what is wrong with them."""

import pytest

from headrace.core.tensor import DataType, TensorSpec
from headrace.pb.inference import model_config_pb2 as pb
from headrace.repository.completion.image import read_image
from headrace.repository.completion.parameters import read_parameters
from headrace.repository.config import ImageInput, ImageLayout, ImageResize
from headrace.repository.problems import Findings


def spec(dims, name="x", datatype=DataType.FP32):
    return TensorSpec(name, datatype, dims, dims)


def read(parameters, *inputs, formats=None):
    """What `parameters` say for `inputs`, and every problem by its field."""
    findings = Findings("config.yaml")
    message = pb.ModelConfig()
    for name, value in parameters.items():
        message.parameters[name].string_value = value
    messages = [pb.ModelInput(name=each.name, format=(formats or {}).get(each.name, 0)) for each in inputs]
    image = read_image(read_parameters(message, findings), messages, inputs, findings)
    return image, {problem.field: problem.message for problem in findings.problems}


def test_models_without_such_parameters_take_no_pictures():
    assert read({"execution_mode": "1"}, spec((3, 8, 8))) == (None, {})


@pytest.mark.parametrize(
    ("dims", "layout", "mode", "width", "height"),
    [
        ((8, 6), ImageLayout.HW, "L", 6, 8),
        ((1, 8, 6), ImageLayout.CHW, "L", 6, 8),
        ((3, 8, 6), ImageLayout.CHW, "RGB", 6, 8),
        ((8, 6, 3), ImageLayout.HWC, "RGB", 6, 8),
        ((3, -1, -1), ImageLayout.CHW, "RGB", None, None),
    ],
)
def test_what_dims_can_only_mean_need_not_be_said(dims, layout, mode, width, height):
    image, problems = read({"image_scale": "0.5"}, spec(dims))
    assert problems == {}
    assert image == ImageInput("x", mode, layout, width, height, scale=0.5)


def test_everything_can_be_said():
    parameters = {
        "image_input": "pixels",
        "image_mode": "BGR",
        "image_layout": "HWC",
        "image_resize": "crop",
        "image_scale": "0.25",
        "image_mean": "1, 2, 3",
        "image_std": "4,5,6",
    }
    image, problems = read(parameters, spec((2,), "other"), spec((4, 4, 3), "pixels"))
    assert problems == {}
    assert image == ImageInput(
        "pixels", "BGR", ImageLayout.HWC, 4, 4, ImageResize.CROP, 0.25, (1, 2, 3), (4, 5, 6)
    )


def test_the_format_of_the_input_is_its_layout():
    image, problems = read({"image_mode": "RGB"}, spec((3, 3, 3)), formats={"x": pb.ModelInput.FORMAT_NHWC})
    assert problems == {}
    assert image.layout is ImageLayout.HWC


@pytest.mark.parametrize(
    ("parameters", "inputs", "field", "words"),
    [
        ({"image_mode": "CMYK"}, [spec((8, 8))], "parameters.image_mode", "one of L, RGB, BGR"),
        ({"image_mode": "RGB"}, [spec((8, 8))], "parameters.image_mode", "has 3 channels, but input 'x'"),
        ({"image_mode": "L"}, [spec((3, 3, 3))], "parameters.image_layout", "CHW or HWC for three"),
        ({"image_layout": "HW"}, [spec((3, 8, 8))], "parameters.image_layout", "CHW or HWC for three"),
        ({"image_layout": "WH"}, [spec((8, 8))], "parameters.image_layout", "one of HW, CHW, HWC"),
        ({"image_resize": "fit"}, [spec((8, 8))], "parameters.image_resize", "one of stretch, crop, pad"),
        ({"image_scale": "big"}, [spec((8, 8))], "parameters.image_scale", "a number"),
        ({"image_scale": "1,2"}, [spec((8, 8))], "parameters.image_scale", "a number"),
        ({"image_mean": "1,2"}, [spec((3, 8, 8))], "parameters.image_mean", "1 or 3 numbers"),
        ({"image_mean": "1,2,3"}, [spec((8, 8))], "parameters.image_mean", "L has one channel"),
        ({"image_std": "0"}, [spec((8, 8))], "parameters.image_std", "not 0"),
        ({"image_scale": "nan"}, [spec((8, 8))], "parameters.image_scale", "a number"),
        ({"image_input": "y"}, [spec((8, 8))], "parameters.image_input", "expected one of the inputs x"),
        (
            {"image_mode": "L"},
            [spec((8, 8)), spec((8, 8), "y")],
            "parameters.image_input",
            "expected one of the inputs x, y",
        ),
        (
            {"image_mode": "L"},
            [spec((8, 8), datatype=DataType.BYTES)],
            "parameters.image_input",
            "is BYTES; expected numbers",
        ),
    ],
)
def test_what_cannot_be_is_refused_by_its_field(parameters, inputs, field, words):
    _, problems = read(parameters, *inputs)
    assert words in problems[field]
