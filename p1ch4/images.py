"""Image files as tensors (chapter 4, "Loading an image file")."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError

from util.errors import UserError
from util.paths import shown

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp"}


def load_image(path) -> torch.Tensor:
    """The picture in a file as a uint8 tensor of shape (3, height, width), in RGB.

    Whatever the file holds comes out alike: photos are turned upright as their EXIF note asks, palettes,
    greys and print colours (CMYK) become RGB, 16 bits become 8, transparent places white, and of an
    animation the first picture is taken. Raises `UserError`, one sentence, for a file that is missing,
    no picture, cut off or too large to be a photo.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"there is no picture '{shown(path)}'; check the path")
    if path.is_dir():
        raise UserError(f"'{shown(path)}' is a folder; give a picture in it, or use load_batch")
    try:
        with Image.open(path) as file:
            file.load()
            image = ImageOps.exif_transpose(file)
            return _to_tensor(image)
    except UnidentifiedImageError as error:
        raise UserError(
            f"'{shown(path)}' is no picture that Pillow can read; open it to see what it is"
        ) from error
    except Image.DecompressionBombError as error:
        raise UserError(f"'{shown(path)}' is too large to be a photo; shrink it first") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise UserError(
            f"'{shown(path)}' is damaged or was cut off ({error}); copy or download it again"
        ) from error


def _to_tensor(image: Image.Image) -> torch.Tensor:
    if image.mode.startswith("I"):
        # 16 bits of brightness; convert("RGB") would clip them instead of scaling.
        grey = np.asarray(image).astype(np.float64) / 257
        image = Image.fromarray(grey.clip(0, 255).round().astype(np.uint8))
    elif image.mode == "F":
        values = np.asarray(image)
        low, high = np.nanmin(values), np.nanmax(values)
        image = Image.fromarray(np.uint8(np.nan_to_num((values - low) / max(high - low, 1e-12)) * 255))
    elif image.has_transparency_data:
        seen = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen)
    pixels = np.array(image.convert("RGB"))  # (H, W, 3)
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


def channel_statistics(batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of each channel over a float (N, C, H, W) batch, (C,) each."""
    return batch.mean(dim=(0, 2, 3)), batch.std(dim=(0, 2, 3))


def normalize(batch: torch.Tensor, mean: torch.Tensor, std: torch.Tensor) -> torch.Tensor:
    """A float (N, C, H, W) batch with each channel shifted by its `mean` and divided by its `std`."""
    return (batch - mean[:, None, None]) / std[:, None, None]
