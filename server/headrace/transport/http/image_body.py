"""A picture as a model's input, as the model's configuration says."""

import io
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from headrace.core.tensor import Buffer
from headrace.errors import InvalidArgument
from headrace.repository.config import ImageInput, ImageLayout, ImageResize
from headrace.service.answers import ModelTensors
from headrace.transport.http.columns import Columns
from headrace.transport.http.messages import HttpError

IMAGE = "image/"
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")
MAX_PIXELS = 64 * 1024 * 1024
# Of an input whose size is the picture's own.
MAX_VALUES = 32 * 1024 * 1024
# Pillow only warns at first; the size is checked here, before a pixel is unpacked.
Image.MAX_IMAGE_PIXELS = None


@dataclass(frozen=True, slots=True)
class PictureInput:
    """The input that a picture becomes, and its datatype."""

    image: ImageInput
    dtype: np.dtype[Any]


def picture_input(model: ModelTensors) -> PictureInput:
    """What `model` makes of pictures; 415 where it takes none."""
    if model.image is None:
        raise HttpError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            f"model '{model.name}' does not say how a picture becomes an input: its configuration has no "
            "parameters image_...",
        )
    (spec,) = [spec for spec in model.inputs if spec.name == model.image.name]
    return PictureInput(model.image, spec.datatype.numpy)


def read_image(body: Buffer, to: PictureInput) -> Columns:
    """The one picture in `body` as the input that takes it; off the event loop, as it may take a while."""
    image = to.image
    try:
        pixels = np.asarray(_resized(_with_mode(_open(body, image), image), image), np.float32)
    except InvalidArgument:
        raise
    except MemoryError:
        raise InvalidArgument("the picture needs more memory than there is to be unpacked") from None
    except UnidentifiedImageError:
        raise InvalidArgument(f"the body is no picture: expected one of {', '.join(FORMATS)}") from None
    except Exception as error:  # Pillow's readers raise whatever a broken file makes them
        raise InvalidArgument(f"the picture cannot be read: {error}") from None
    return {image.name: to_input(pixels, image, to.dtype)}


def to_input(pixels: NDArray[np.float32], image: ImageInput, dtype: np.dtype[Any]) -> NDArray[Any]:
    """`pixels`, of shape [height, width] or [height, width, channels], as the model's input.

    Where that has integers, values are rounded and kept within what it can hold.
    """
    if image.mode == "BGR":
        pixels = pixels[:, :, ::-1]
    mean, std = np.array(image.mean, np.float32), np.array(image.std, np.float32)
    values = (pixels * np.float32(image.scale) - mean) / std
    if image.layout is not ImageLayout.HW and values.ndim == 2:
        values = values[:, :, np.newaxis]
    if image.layout is ImageLayout.CHW:
        values = values.transpose(2, 0, 1)
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        integers: NDArray[Any] = np.rint(values).clip(info.min, info.max).astype(dtype)
        return integers
    return np.ascontiguousarray(values, np.float32)


def _open(body: Buffer, image: ImageInput) -> Image.Image:
    picture = Image.open(io.BytesIO(body), formats=FORMATS)
    if picture.width * picture.height > MAX_PIXELS:
        raise InvalidArgument(
            f"the picture has {picture.width} x {picture.height} pixels: at most {MAX_PIXELS} are allowed"
        )
    width, height = image.width or picture.width, image.height or picture.height
    if width * height * len(image.layout.value) > MAX_VALUES:
        raise InvalidArgument(
            f"the picture becomes an input of more than {MAX_VALUES} values: send a smaller one"
        )
    picture.draft(None, (width, height))  # lets a JPEG be unpacked at about the size that is wanted
    return ImageOps.exif_transpose(picture)


def _with_mode(picture: Image.Image, image: ImageInput) -> Image.Image:
    """In grey or in colours of 8 bits; what is transparent becomes white."""
    mode = "L" if image.mode == "L" else "RGB"
    if picture.mode.startswith("I;16"):
        picture = Image.fromarray((np.asarray(picture, np.uint16) >> 8).astype(np.uint8))
    elif picture.mode in ("I", "F"):
        raise InvalidArgument(f"the picture has pixels of mode {picture.mode}: expected 8 or 16 bits")
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture)
    return picture.convert(mode)


def _resized(picture: Image.Image, image: ImageInput) -> Image.Image:
    size = (image.width or picture.width, image.height or picture.height)
    if picture.size == size:
        return picture
    if image.resize is ImageResize.CROP:
        return ImageOps.fit(picture, size, Image.Resampling.BILINEAR)
    if image.resize is ImageResize.PAD:
        return ImageOps.pad(picture, size, Image.Resampling.BILINEAR)
    return picture.resize(size, Image.Resampling.BILINEAR)
