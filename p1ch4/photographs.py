"""Photographs that come with scikit-image, and files that make trouble.

`photo.jpg` is the cat Chelsea, `batch` has three photographs of different sizes, and `trouble` has the cat
as folders of real pictures have it: stored sideways with a note to turn it, with a palette, in print
colours, with 16 bits, see-through, cut off; and a file that is no picture. The photographs may be used by
anyone: Chelsea and the coffee (S. van der Walt, R. Michetti) and the rocket (SpaceX) are in the public
domain by their makers' wish, the astronaut Eileen Collins is NASA's.
"""

from pathlib import Path

import numpy as np

BATCH = ("astronaut", "coffee", "rocket")


def generate(folder: Path):
    """Write `photo.jpg`, `batch/*.jpg` and `trouble/*` into `folder`."""
    from PIL import Image
    from skimage import data

    photo = Image.fromarray(data.chelsea())
    photo.save(folder / "photo.jpg", quality=92)
    (folder / "batch").mkdir()
    for name in BATCH:
        Image.fromarray(getattr(data, name)()).save(folder / "batch" / f"{name}.jpg", quality=92)

    trouble = folder / "trouble"
    trouble.mkdir()
    small = photo.resize((160, 106))
    exif = Image.Exif()
    exif[0x0112] = 6  # Orientation: turn a quarter clockwise to look at it
    small.transpose(Image.Transpose.ROTATE_90).save(trouble / "sideways.jpg", exif=exif, quality=92)
    small.convert("CMYK").save(trouble / "print_colours.jpg", quality=92)
    small.quantize(32).save(trouble / "palette.png")
    small.convert("L").save(trouble / "grey.png")
    levels = np.asarray(small.convert("L"), np.uint16) * 257
    Image.fromarray(levels).save(trouble / "sixteen_bits.png")
    shape = np.zeros((106, 160), np.uint8)
    shape[10:96, 30:130] = 255
    small.putalpha(Image.fromarray(shape))
    small.save(trouble / "see_through.png")
    whole = (folder / "photo.jpg").read_bytes()
    (trouble / "cut_off.jpg").write_bytes(whole[: len(whole) // 3])
    (trouble / "no_picture.jpg").write_text("<html>404: the picture is gone</html>\n", encoding="utf-8")
