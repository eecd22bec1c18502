"""A picture as a model's input, as the model's configuration says."""

import io
from http import HTTPStatus

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from headrace.core.tensor import Buffer
from headrace.errors import InvalidArgument
from headrace.repository.config import ImageInput, ImageLayout, ImageResize
from headrace.service.answers import ModelTensors
from headrace.transport.http.messages import HttpError
from headrace.transport.http.predict_body import Columns

IMAGE = "image/"
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")
MAX_PIXELS = 64 * 1024 * 1024
# Pillow only warns at first; the size is checked here, before a pixel is unpacked.
Image.MAX_IMAGE_PIXELS = None


def read_image(body: Buffer, model: ModelTensors) -> Columns:
    """The one picture in `body` as the input that takes it; off the event loop, as it may take a while."""
    if model.image is None:
        raise HttpError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            f"model '{model.name}' does not say how a picture becomes an input: its configuration has no "
            "parameters image_...",
        )
    picture = _open(body)
    mode = "L" if model.image.mode == "L" else "RGB"
    pixels = np.asarray(_resized(picture.convert(mode), model.image), np.float32)
    return {model.image.name: to_input(pixels, model.image)}


def to_input(pixels: NDArray[np.float32], image: ImageInput) -> NDArray[np.float32]:
    """`pixels`, of shape [height, width] or [height, width, channels], as the model's input."""
    if image.mode == "BGR":
        pixels = pixels[:, :, ::-1]
    mean, std = np.array(image.mean, np.float32), np.array(image.std, np.float32)
    values = (pixels * np.float32(image.scale) - mean) / std
    if image.layout is not ImageLayout.HW and values.ndim == 2:
        values = values[:, :, np.newaxis]
    if image.layout is ImageLayout.CHW:
        values = values.transpose(2, 0, 1)
    return np.ascontiguousarray(values, np.float32)


def _open(body: Buffer) -> Image.Image:
    try:
        picture = Image.open(io.BytesIO(body), formats=FORMATS)
        if picture.width * picture.height > MAX_PIXELS:
            raise InvalidArgument(
                f"the picture has {picture.width} x {picture.height} pixels: at most {MAX_PIXELS} are allowed"
            )
        return ImageOps.exif_transpose(picture)
    except UnidentifiedImageError:
        raise InvalidArgument(f"the body is no picture: expected one of {', '.join(FORMATS)}") from None
    except (OSError, ValueError, SyntaxError) as error:
        raise InvalidArgument(f"the picture cannot be read: {error}") from None


def _resized(picture: Image.Image, image: ImageInput) -> Image.Image:
    size = (image.width or picture.width, image.height or picture.height)
    if picture.size == size:
        return picture
    if image.resize is ImageResize.CROP:
        return ImageOps.fit(picture, size, Image.Resampling.BILINEAR)
    if image.resize is ImageResize.PAD:
        return ImageOps.pad(picture, size, Image.Resampling.BILINEAR)
    return picture.resize(size, Image.Resampling.BILINEAR)
