"""The stand-in for photographs: landscapes with hills, water and weather, and files that make trouble.

`photo.jpg` is one landscape, `batch` has three of equal size at different hours of the day, and `trouble`
has what folders of real pictures have: a photo stored sideways with a note to turn it, a palette, print
colours, 16 bits, a file that was cut off and one that is no picture. Nothing was photographed.
"""

from pathlib import Path

import numpy as np

SKIES = {  # colour at the top, at the horizon, of the sun; height of the sun; light on the ground
    "dawn": ((0.30, 0.40, 0.62), (0.98, 0.72, 0.55), (1.0, 0.85, 0.65), 0.10, 0.62),
    "noon": ((0.22, 0.46, 0.80), (0.75, 0.87, 0.96), (1.0, 1.0, 0.92), 0.75, 1.0),
    "dusk": ((0.17, 0.16, 0.36), (0.88, 0.42, 0.33), (1.0, 0.62, 0.35), 0.06, 0.42),
}


def _noise(rng, shape, smooth, power=1.0):
    """Cloud-like noise in [0, 1] of `shape`: random waves, long ones strongest."""
    fy = np.fft.fftfreq(shape[0])[:, None]
    fx = np.fft.rfftfreq(shape[1])
    weight = 1 / (np.hypot(fy, fx) + 1 / smooth) ** (1 + power)
    waves = np.fft.rfft2(rng.standard_normal(shape)) * weight
    field = np.fft.irfft2(waves, shape)
    return (field - field.min()) / (field.max() - field.min())


def _ridge(rng, width, height, roughness):
    """A mountain line: (width,) heights around `height`."""
    return height + roughness * (_noise(rng, (8, width), width / 3, 1.0)[0] - 0.5)


def draw_landscape(seed, sky="noon", height=360, width=480) -> np.ndarray:
    """(height, width, 3) uint8: sky with sun and clouds, three ranges of hills, a lake."""
    rng = np.random.default_rng([104, 3, seed])
    top, horizon, sun, sun_height, light = (np.array(part) for part in SKIES[sky])
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    shore = 0.68
    t = np.clip(y / shore, 0, 1)[..., None]
    image = top * (1 - t) + horizon * t  # (H, W, 3)
    distance = np.hypot((x - 0.3 - 0.4 * rng.random()) * width / height, y - shore * (0.9 - 0.8 * sun_height))
    image += np.exp(-distance / 0.10)[..., None] * sun * 0.5
    clouds = np.clip(_noise(rng, (height, width), width / 5) * 2.6 - 1.45, 0, 1) * (1 - t[..., 0] ** 3)
    image += (clouds[..., None] * 0.75) * ((0.6 + 0.4 * light) * sun - image)
    for depth, (line, tint) in enumerate([(0.50, 0.55), (0.57, 0.32), (0.64, 0.12)]):
        ridge = _ridge(rng, width, line, 0.30 - 0.07 * depth)
        inside = np.clip((y - ridge) * height, 0, 1)[..., None]
        grain = _noise(rng, (height, width), 12, 0.3)[..., None]
        green = np.array([0.20, 0.34, 0.16]) * (0.6 + 0.8 * grain) * light
        # Far hills take the colour of the air.
        image = image * (1 - inside) + inside * (green * (1 - tint) + tint * (0.5 * horizon + 0.5 * top))
    lake = int(shore * height)
    depth = height - lake
    ripples = _noise(rng, (depth, width), 40, 0.6) - 0.5
    rows = np.clip(lake - 1 - (np.arange(depth)[:, None] * 1.2 + 14 * ripples), 0, lake - 1).astype(int)
    fade = np.linspace(0.85, 0.5, depth)[:, None, None]
    image[lake:] = image[rows, np.arange(width)] * fade + (1 - fade) * top * 0.45
    image += rng.normal(0, 0.012, image.shape)
    return (np.clip(image, 0, 1) * 255).round().astype(np.uint8)


def generate(folder: Path):
    """Write `photo.jpg`, `batch/*.png` and `trouble/*` into `folder`."""
    from PIL import Image

    photo = Image.fromarray(draw_landscape(4))
    photo.save(folder / "photo.jpg", quality=88)
    (folder / "batch").mkdir()
    for number, sky in enumerate(SKIES):
        Image.fromarray(draw_landscape(10 + number, sky, 256, 256)).save(folder / "batch" / f"{sky}.png")

    trouble = folder / "trouble"
    trouble.mkdir()
    small = photo.resize((160, 120))
    exif = Image.Exif()
    exif[0x0112] = 6  # Orientation: turn a quarter clockwise to look at it
    small.transpose(Image.Transpose.ROTATE_90).save(trouble / "sideways.jpg", exif=exif, quality=88)
    small.convert("CMYK").save(trouble / "print_colours.jpg", quality=88)
    small.quantize(32).save(trouble / "palette.png")
    small.convert("L").save(trouble / "grey.png")
    levels = np.asarray(small.convert("L"), np.uint16) * 257
    Image.fromarray(levels).save(trouble / "sixteen_bits.png")
    shape = np.zeros((120, 160), np.uint8)
    shape[20:100, 30:130] = 255
    small.putalpha(Image.fromarray(shape))
    small.save(trouble / "see_through.png")
    whole = (folder / "batch" / "noon.png").read_bytes()
    (trouble / "cut_off.png").write_bytes(whole[: len(whole) // 3])
    (trouble / "no_picture.jpg").write_text("<html>404: the picture is gone</html>\n", encoding="utf-8")
