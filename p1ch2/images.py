"""A photograph from a file, ready for a network: upright, in RGB, eight bits per channel."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from util.errors import UserError
from util.paths import shown


def load_image(path) -> Image.Image:
    """The picture in a file as an upright PIL image in mode "RGB", whatever the file holds.

    A photo is turned as its EXIF note asks; palettes, greys and print colours (CMYK) become RGB;
    16 bits become 8; transparent places become white; of an animation the first picture is taken.
    Raises `UserError`, one sentence, for a file that is missing, no picture, cut off or too large.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise UserError(f"there is no picture '{shown(path)}'; check the path")
    if path.is_dir():
        raise UserError(f"'{shown(path)}' is a folder; give the path of one picture in it")
    try:
        with Image.open(path) as file:
            file.load()
            # A TIFF's sideways note is honoured while it loads, so this turns nothing twice.
            return to_rgb(ImageOps.exif_transpose(file))
    except UnidentifiedImageError as error:
        raise UserError(
            f"'{shown(path)}' is no picture that Pillow can read; save it as JPEG or PNG first"
        ) from error
    except Image.DecompressionBombError as error:
        raise UserError(f"'{shown(path)}' is too large to be a photo; shrink it first") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise UserError(
            f"'{shown(path)}' is damaged or was cut off ({error}); copy or download it again"
        ) from error


def to_rgb(image: Image.Image) -> Image.Image:
    """A PIL image of any mode in mode "RGB": 16 bits and fractions scaled to 8, transparency laid on white."""
    if image.mode.startswith("I"):
        # 16-bit files come as 0 to 65,535; Pillow's own conversion would clip them at 255.
        image = _grey(np.asarray(image, dtype=np.float64) / 65535)
    elif image.mode == "F":  # any numbers: the darkest becomes black, the brightest white
        values = np.asarray(image, dtype=np.float64)
        finite = values[np.isfinite(values)] if np.isfinite(values).any() else np.zeros(1)
        low, high = finite.min(), finite.max()
        image = _grey(np.nan_to_num((values - low) / max(high - low, 1e-12), nan=0.0))
    elif image.has_transparency_data:
        seen = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen)
    return image.convert("RGB")


def _grey(brightness: np.ndarray) -> Image.Image:
    return Image.fromarray((brightness * 255).clip(0, 255).round().astype(np.uint8))
