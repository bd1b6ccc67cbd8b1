"""Pictures from an image endpoint or from the user's own diffusers pipeline, and whether they can serve as textures."""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from PIL import Image

from learning.datasets.texture_generation.endpoint import Endpoint
from pose6d.device import resolve_device
from pose6d.errors import DeviceError, MissingDependencyError, OptionError, TextureError

SMALLEST = 128
"""pixels of the shorter side; textures have 256"""
_FLAT = 2.0  # standard deviation of the liveliest channel, of 255
# The description comes first: many image models read no more than 77 tokens.
_PROMPT = "{description}. Texture that fills the picture, seen from the front, even light, no background, no shadows"


class PictureError(TextureError):
    """A picture came, and cannot be used: damaged, too small, one flat colour, or there already."""


class NoPictureError(TextureError):
    """The source answered without a picture."""


class PictureSource(Protocol):
    """What makes pictures from prompts."""

    @property
    def name(self) -> str | None:
        """Of the model; None where the server chooses it."""

    def make(self, prompt: str, seed: int) -> Image.Image:
        """A picture.

        Raises:
            PictureError: it cannot be decoded.
            NoPictureError, RefusedError: there is none for this prompt; there may be one for another.
            TextureError: the source does not work.
        """


def texture_prompt(description: str) -> str:
    """What an image model is asked to paint."""
    return _PROMPT.format(description=description)


@dataclass(frozen=True)
class EndpointPictures:
    """Pictures from the service images/generations of an endpoint."""

    endpoint: Endpoint
    name: str | None
    """model; None leaves it to the server"""
    size: int
    """pixels of a side to ask for"""
    fields: Mapping[str, Any] = field(default_factory=dict)
    """more fields of the request"""
    send_seed: bool = False

    def make(self, prompt: str, seed: int) -> Image.Image:
        request: dict[str, Any] = {"prompt": prompt, "n": 1, "size": f"{self.size}x{self.size}", **self.fields}
        if self.name:
            request["model"] = self.name
        if self.send_seed:
            request["seed"] = seed
        answer = self.endpoint.post("images/generations", request)
        try:
            found = answer["data"][0]
            text, url = found.get("b64_json"), found.get("url")
        except (LookupError, TypeError, AttributeError):
            text = url = None
        if isinstance(url, str) and url.startswith("data:"):
            text = url
        if isinstance(text, str) and text:
            try:
                return decode_picture(base64.b64decode(text.rpartition(",")[2], validate=True))
            except (binascii.Error, ValueError) as error:
                raise PictureError(f"the picture cannot be decoded: {error}") from error
        if isinstance(url, str) and url:
            try:
                return decode_picture(self.endpoint.fetch(url))
            except TextureError as error:
                raise PictureError(f"the picture was made, but does not come: {error}") from error
        raise NoPictureError(
            f"{self.endpoint.url}/images/generations answers without a picture (it has: "
            f"{', '.join(map(str, answer)) or 'nothing'}): is --picture_model a model that paints?"
        )


class DiffusersPictures:
    """Pictures from a pipeline of the package diffusers that is on this machine. Nothing is downloaded.

    Args:
        name: folder of the pipeline, or the name under which diffusers has it in its cache.
        size: pixels of a side.
        device: see `resolve_device`.
        fields: more arguments of the pipeline's call, such as num_inference_steps.

    Raises:
        MissingDependencyError: diffusers is not installed.
        OptionError: there is no such pipeline.
    """

    def __init__(self, name: str, size: int, device: str = "auto", fields: Mapping[str, Any] | None = None) -> None:
        try:
            import diffusers
        except ImportError as error:
            raise MissingDependencyError(
                f"--pictures diffusers needs the package diffusers ({error}): pip install diffusers transformers, or "
                "use --pictures endpoint"
            ) from error
        import torch

        place = resolve_device(device)
        dtype = torch.float16 if place.type == "cuda" else torch.float32
        try:
            pipeline = diffusers.DiffusionPipeline.from_pretrained(name, torch_dtype=dtype, local_files_only=True)
        except (OSError, ValueError, ImportError, KeyError, AttributeError) as error:
            reason = str(error).strip().partition("\n")[0].rstrip(".")
            raise OptionError(
                f"--pipeline {name} cannot be loaded: {reason}; wanted the folder of a pipeline (with "
                "model_index.json), or one that diffusers has in its cache: nothing is downloaded here"
            ) from error
        self.name, self._size, self._fields = name, size, dict(fields or {})
        self._pipeline = pipeline.to(place)
        self._pipeline.set_progress_bar_config(disable=True)

    def make(self, prompt: str, seed: int) -> Image.Image:
        import torch

        call = {"prompt": prompt, "height": self._size, "width": self._size, **self._fields}
        try:
            images = self._pipeline(generator=torch.Generator("cpu").manual_seed(seed), **call).images
        except torch.cuda.OutOfMemoryError as error:
            raise DeviceError(f"--pipeline {self.name}: the GPU's memory is too small: make --size smaller") from error
        except (TypeError, ValueError, RuntimeError) as error:
            reason = str(error).strip().rstrip(".")
            raise OptionError(f"--pipeline {self.name} does not paint with {call}: {reason}") from error
        if not images or not isinstance(images[0], Image.Image):
            raise NoPictureError(f"--pipeline {self.name} gives no picture: is it one that makes pictures of texts?")
        return images[0].convert("RGB")


def decode_picture(data: bytes) -> Image.Image:
    """The RGB picture in the bytes of a file of any format that Pillow reads.

    Raises:
        PictureError: it is damaged, cut short, far too large or no picture.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            return image.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise PictureError(f"the picture ({len(data)} bytes) cannot be decoded: {error}") from error


def check_picture(image: Image.Image) -> None:
    """Refuse an RGB picture that no object should wear.

    Raises:
        PictureError: it is too small, or one flat colour (which is what many servers send for what they censor).
    """
    if min(image.size) < SMALLEST:
        raise PictureError(f"the picture has {image.width} x {image.height} pixels, wanted at least {SMALLEST} a side")
    if np.asarray(image).std(axis=(0, 1)).max() < _FLAT:
        raise PictureError("the picture is one flat colour")


def picture_checksum(image: Image.Image) -> str:
    """SHA-256 in hex of the size and the pixels of an RGB picture: the same for the same picture in other files."""
    return hashlib.sha256(f"{image.width} {image.height} ".encode() + image.tobytes()).hexdigest()
