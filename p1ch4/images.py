"""Image files as tensors (chapter 4, "Loading an image file")."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

from p1ch2 import images as pictures
from util.errors import UserError
from util.paths import shown

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp"}


def load_image(path) -> torch.Tensor:
    """`p1ch2.images.load_image` as a uint8 tensor of shape (3, height, width), in RGB.

    Whatever the file holds comes out alike: photos are turned upright as their EXIF note asks, palettes,
    greys and print colours (CMYK) become RGB, 16 bits become 8, transparent places white, and of an
    animation the first picture is taken. Raises `UserError`, one sentence, for a file that is missing,
    no picture, cut off or too large to be a photo.
    """
    pixels = np.array(pictures.load_image(path))  # (H, W, 3)
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()  # (3, H, W)


def images_in(folder) -> list[Path]:
    """The picture files of a folder by name. Raises `UserError` where there are none."""
    folder = Path(folder)
    files = sorted(p for p in folder.glob("*") if p.suffix.lower() in SUFFIXES) if folder.is_dir() else []
    if not files:
        raise UserError(f"there is no picture in '{shown(folder)}'; put some .jpg or .png files there")
    return files


def load_batch(folder, size=(256, 256)) -> torch.Tensor:
    """All pictures of a folder as one uint8 tensor of shape (N, 3, height, width).

    size: (height, width). Pictures of another size are scaled to cover it and cut around their middle,
    so that nothing is squeezed. Raises `UserError` for an empty folder or a bad file.
    """
    files = images_in(folder)
    batch = torch.empty(len(files), 3, *size, dtype=torch.uint8)
    for number, path in enumerate(files):
        batch[number] = _fit(load_image(path), size)
    return batch


def _fit(image: torch.Tensor, size) -> torch.Tensor:
    if tuple(image.shape[1:]) == tuple(size):
        return image
    upright = Image.fromarray(image.permute(1, 2, 0).numpy())
    fitted = ImageOps.fit(upright, (size[1], size[0]), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(fitted)).permute(2, 0, 1)
