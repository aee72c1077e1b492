"""Photographs that come with scikit-image, and files that make trouble.

`photo.jpg` is the cat Chelsea, `batch` has three photographs of different sizes. They may be used by anyone:
Chelsea and the coffee (S. van der Walt, R. Michetti) and the rocket (SpaceX) are in the public domain by
their makers' wish, the astronaut Eileen Collins is NASA's. `write_trouble` makes of any photograph what
folders of real pictures have.
"""

from pathlib import Path

import numpy as np

BATCH = ("astronaut", "coffee", "rocket")


def generate(folder: Path):
    """Write `photo.jpg` and `batch/*.jpg` into `folder`."""
    from PIL import Image
    from skimage import data

    Image.fromarray(data.chelsea()).save(folder / "photo.jpg", quality=92)
    (folder / "batch").mkdir()
    for name in BATCH:
        Image.fromarray(getattr(data, name)()).save(folder / "batch" / f"{name}.jpg", quality=92)


def write_trouble(photo, folder) -> list[Path]:
    """Write the picture in the file `photo` into `folder` eight times over; returns the files by name.

    Stored sideways with a note to turn it, with a palette, in print colours, in grey, with 16 bits,
    see-through, cut off; and a file that is no picture.
    """
    from PIL import Image

    photo, folder = Path(photo), Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    small = Image.open(photo).convert("RGB").resize((160, 106))
    exif = Image.Exif()
    exif[0x0112] = 6  # Orientation: turn a quarter clockwise to look at it
    small.transpose(Image.Transpose.ROTATE_90).save(folder / "sideways.jpg", exif=exif, quality=92)
    small.convert("CMYK").save(folder / "print_colours.jpg", quality=92)
    small.quantize(32).save(folder / "palette.png")
    small.convert("L").save(folder / "grey.png")
    levels = np.asarray(small.convert("L"), np.uint16) * 257
    Image.fromarray(levels).save(folder / "sixteen_bits.png")
    shape = np.zeros((106, 160), np.uint8)
    shape[10:96, 30:130] = 255
    small.putalpha(Image.fromarray(shape))
    small.save(folder / "see_through.png")
    whole = photo.read_bytes()
    (folder / "cut_off.jpg").write_bytes(whole[: len(whole) // 3])
    (folder / "no_picture.jpg").write_text("<html>404: the picture is gone</html>\n", encoding="utf-8")
    return sorted(folder.iterdir())
