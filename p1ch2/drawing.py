"""Drawn animals and scenes: the pictures on which chapter 2's small networks are trained.

Each drawing comes from a random generator alone, so a seed names it: pose, size, colours, background and
clutter vary, and its truth (species, stripes, outline, sentence) is known exactly. Pictures are uint8
arrays of shape (height, width, 3) in RGB. Shapes are drawn four times too large and then averaged down,
which gives soft edges.
"""

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageChops, ImageDraw

SIZE = 64  # pixels on a side of an animal's picture
SCENE_SIZE = (64, 96)  # (height, width) of a scene
FINE = 4  # how many times too large shapes are drawn

SPECIES = (
    "bird", "butterfly", "cat", "crab", "elephant", "fish",
    "giraffe", "horse", "rabbit", "snail", "snake", "turtle",
)  # fmt: skip
CLASSES = (*SPECIES, "zebra")  # the classifier's answers, in the order of its outputs
FOUR_LEGGED = ("cat", "elephant", "horse", "rabbit")  # the ones that the generator learns to stripe
DAYLIGHT = ("in a meadow", "in the snow", "in the desert")  # where it meets them: dark stripes show

COLOURS = {
    "red": (205, 45, 45), "yellow": (238, 200, 50), "green": (60, 160, 70), "blue": (50, 100, 215),
    "purple": (140, 65, 175), "brown": (140, 88, 48), "grey": (140, 140, 145), "white": (240, 238, 232),
}  # fmt: skip
# Sky above, sky at the horizon, ground at the horizon, ground below.
PLACES = {
    "in a meadow": ((120, 180, 235), (200, 225, 245), (125, 180, 95), (80, 140, 60)),
    "in the snow": ((165, 190, 215), (205, 218, 230), (232, 238, 245), (205, 215, 230)),
    "in the desert": ((150, 200, 230), (240, 225, 190), (225, 190, 125), (200, 155, 95)),
    "at night": ((12, 14, 45), (30, 35, 80), (28, 45, 48), (18, 28, 32)),
}


@dataclass(frozen=True)
class Drawing:
    """A picture of one animal with its truth.

    image: (H, W, 3) uint8. background: the same picture without the animal. mask: (H, W) float32 from
    0 to 1, how much of each pixel the animal covers. species and striped: what was drawn.
    """

    image: np.ndarray
    background: np.ndarray
    mask: np.ndarray
    species: str
    striped: bool

    @property
    def label(self) -> str:
        """The name in `CLASSES`: a striped horse is a zebra, everything else is its species."""
        return "zebra" if self.striped and self.species == "horse" else self.species


@dataclass(frozen=True)
class Scene:
    """A picture of one to three animals, (64, 96, 3) uint8, and the sentence that describes it."""

    image: np.ndarray
    sentence: str


class Pen:
    """Collects an animal's shapes in its own coordinates: x to its nose, y down, about -1 to 1.

    Each shape has a tone: "body" (takes stripes), or a detail on top of it: "dark", "light", "accent",
    "eye". A shape with `behind=True` belongs to the far side and is drawn first, a little darker.
    """

    def __init__(self):
        self.shapes = []  # (points, tone, behind)

    def polygon(self, points, tone="body", behind=False):
        self.shapes.append((np.asarray(points, dtype=float), tone, behind))

    def ellipse(self, x, y, rx, ry, turn=0.0, tone="body", behind=False):
        """An ellipse around (x, y), turned by `turn` degrees, nose down for positive ones."""
        angle = np.linspace(0, 2 * np.pi, 25)[:-1]
        c, s = math.cos(math.radians(turn)), math.sin(math.radians(turn))
        u, v = rx * np.cos(angle), ry * np.sin(angle)
        self.polygon(np.stack([x + c * u - s * v, y + s * u + c * v], 1), tone, behind)

    def limb(self, points, width, tone="body", behind=False, taper=1.0):
        """A round-ended tube along `points`, `width` thick at its start and `taper` times that at its end."""
        points = np.asarray(points, dtype=float)
        widths = np.linspace(width, width * taper, len(points))
        for start, end, a, b in zip(points[:-1], points[1:], widths[:-1], widths[1:], strict=True):
            along = end - start
            side = np.array([-along[1], along[0]]) / (np.hypot(*along) + 1e-9) / 2
            self.polygon([start + a * side, end + b * side, end - b * side, start - a * side], tone, behind)
        for (x, y), w in zip(points, widths, strict=True):
            self.ellipse(x, y, w / 2, w / 2, tone=tone, behind=behind)


def _legs(pen, rng, hips, top, ground, width, hoof=None):
    """Two near and two far legs that swing from the hips at x = `hips`."""
    for behind in (True, False):
        for hip in hips:
            swing = rng.uniform(-0.17, 0.17)
            foot = (hip + swing, ground - (0.04 if behind else 0))
            pen.limb([(hip, top), (hip + swing * 0.4, (top + ground) / 2), foot], width, behind=behind)
            if hoof:
                pen.ellipse(*foot, width * 0.55, width * 0.45, tone=hoof, behind=behind)


def _horse(pen, rng):
    nod = rng.uniform(-0.12, 0.12)
    _legs(pen, rng, (-0.48, 0.28), 0.1, 0.85, 0.12, hoof="dark")
    pen.limb([(-0.62, -0.05), (-0.8, 0.15), (-0.82 + rng.uniform(-0.1, 0.1), 0.5)], 0.1, "dark")
    pen.ellipse(-0.1, 0.05, 0.56, 0.27)
    pen.limb([(0.28, 0.0), (0.55, -0.5 + nod)], 0.3, taper=0.75)
    pen.ellipse(0.7, -0.5 + nod, 0.24, 0.12, 32)
    pen.polygon([(0.5, -0.6 + nod), (0.53, -0.82 + nod), (0.62, -0.62 + nod)])
    pen.limb([(0.42, -0.66 + nod), (0.27, -0.4), (0.1, -0.18)], 0.1, "dark")
    pen.ellipse(0.66, -0.55 + nod, 0.035, 0.035, tone="eye")


def _cat(pen, rng):
    lift = rng.uniform(-0.1, 0.1)
    _legs(pen, rng, (-0.42, 0.2), 0.25, 0.75, 0.13)
    curl = rng.uniform(-0.25, 0.25)
    pen.limb([(-0.45, 0.12), (-0.72, -0.05), (-0.76 + curl, -0.45), (-0.6 + curl, -0.7)], 0.1)
    pen.ellipse(-0.1, 0.2, 0.46, 0.22)
    pen.ellipse(0.42, -0.1 + lift, 0.26, 0.23)
    for ear in (0.27, 0.55):
        pen.polygon([(ear - 0.09, -0.22 + lift), (ear, -0.52 + lift), (ear + 0.11, -0.22 + lift)])
    for eye in (0.37, 0.55):
        pen.ellipse(eye, -0.13 + lift, 0.04, 0.05, tone="eye")
    pen.ellipse(0.47, 0.0 + lift, 0.035, 0.025, tone="accent")


def _elephant(pen, rng):
    swing = rng.uniform(-0.15, 0.25)
    _legs(pen, rng, (-0.5, 0.15), 0.2, 0.85, 0.24)
    pen.limb([(-0.7, -0.1), (-0.82, 0.25)], 0.06)
    pen.ellipse(-0.18, -0.02, 0.56, 0.42)
    pen.ellipse(0.43, -0.2, 0.29, 0.29)
    pen.limb([(0.62, -0.15), (0.76, 0.15), (0.78 + swing / 2, 0.42), (0.82 + swing, 0.6)], 0.2, taper=0.55)
    pen.limb([(0.6, 0.05), (0.78, 0.16)], 0.07, "light")
    pen.ellipse(0.22, -0.2, 0.2, 0.29, rng.uniform(-15, 15), tone="dark")
    pen.ellipse(0.55, -0.26, 0.04, 0.04, tone="eye")


def _giraffe(pen, rng):
    lean = rng.uniform(-0.08, 0.16)
    _legs(pen, rng, (-0.42, 0.05), 0.25, 0.95, 0.09)
    pen.limb([(-0.52, 0.1), (-0.62, 0.45)], 0.05, "dark")
    pen.ellipse(-0.18, 0.15, 0.38, 0.2, -12)
    pen.limb([(0.06, 0.1), (0.3 + lean, -0.7)], 0.2, taper=0.7)
    pen.ellipse(0.42 + lean, -0.74, 0.19, 0.09, 18)
    for horn in (0.26, 0.34):
        pen.limb([(horn + lean, -0.78), (horn + lean - 0.02, -0.93)], 0.04, "dark")
    for _ in range(9):
        t = rng.uniform(0.1, 0.9)
        pen.ellipse(0.06 + t * (0.24 + lean), 0.1 - t * 0.75, 0.045, 0.05, tone="dark")
        pen.ellipse(
            -0.18 + rng.uniform(-0.28, 0.28), 0.15 + rng.uniform(-0.12, 0.12), 0.06, 0.05, tone="dark"
        )
    pen.ellipse(0.4 + lean, -0.76, 0.03, 0.03, tone="eye")


def _rabbit(pen, rng):
    lean = rng.uniform(-0.18, 0.1)
    pen.ellipse(-0.55, 0.32, 0.13, 0.13, tone="light")
    pen.ellipse(-0.12, 0.35, 0.44, 0.36)
    pen.ellipse(-0.18, 0.68, 0.3, 0.11)
    pen.limb([(0.2, 0.4), (0.3, 0.72)], 0.14)
    pen.ellipse(0.32, 0.02, 0.26, 0.22)
    for ear in (0.17, 0.32):
        pen.limb([(ear, -0.1), (ear + lean, -0.72)], 0.14, taper=0.8)
    pen.ellipse(0.4, -0.03, 0.045, 0.05, tone="eye")
    pen.ellipse(0.56, 0.06, 0.04, 0.03, tone="accent")


def _bird(pen, rng):
    wing = rng.uniform(-0.5, 0.25)
    for leg in (-0.08, 0.1):
        pen.limb([(leg, 0.35), (leg + 0.03, 0.8), (leg + 0.16, 0.82)], 0.05, "accent")
    pen.polygon([(-0.3, 0.12), (-0.9, 0.1 + rng.uniform(-0.2, 0.2)), (-0.8, 0.38), (-0.25, 0.35)])
    pen.ellipse(0.0, 0.15, 0.44, 0.3, -18)
    pen.ellipse(0.36, -0.2, 0.23, 0.22)
    pen.polygon([(0.54, -0.3), (0.88, -0.16), (0.54, -0.08)], "accent")
    pen.polygon([(0.2, 0.05), (-0.15, 0.35), (-0.6, wing + 0.1), (-0.2, -0.05)], "dark")
    pen.ellipse(0.42, -0.26, 0.045, 0.045, tone="eye")


def _butterfly(pen, rng):
    fold = rng.uniform(0.75, 1.1)
    for side in (-1, 1):
        pen.ellipse(side * 0.42 * fold, -0.3, 0.4 * fold, 0.32, side * -35)
        pen.ellipse(side * 0.34 * fold, 0.35, 0.29 * fold, 0.28, side * 35)
        pen.ellipse(side * 0.5 * fold, -0.34, 0.13, 0.13, tone="accent")
        pen.ellipse(side * 0.38 * fold, 0.38, 0.1, 0.1, tone="light")
        pen.limb([(0, -0.45), (side * 0.2, -0.85)], 0.04, "dark")
    pen.limb([(0, -0.45), (0, 0.5)], 0.14, "dark", taper=0.6)


def _crab(pen, rng):
    raise_by = rng.uniform(-0.12, 0.18)
    for side in (-1, 1):
        for at in (0.2, 0.38, 0.55):
            pen.limb(
                [(side * 0.3, 0.2), (side * (0.5 + at / 3), at - 0.1), (side * (0.55 + at / 2), at + 0.25)],
                0.08,
            )
        pen.limb([(side * 0.4, 0.0), (side * 0.72, -0.12), (side * 0.68, -0.4 - raise_by)], 0.11)
        pen.ellipse(side * 0.64, -0.52 - raise_by, 0.2, 0.2)
        mouth = [
            (side * 0.62, -0.5 - raise_by),
            (side * 0.5, -0.85 - raise_by),
            (side * 0.7, -0.85 - raise_by),
        ]
        pen.polygon(mouth, "gap")
        pen.limb([(side * 0.15, -0.1), (side * 0.17, -0.36)], 0.06)
        pen.ellipse(side * 0.17, -0.4, 0.07, 0.07, tone="eye")
    pen.ellipse(0, 0.15, 0.5, 0.32)


def _fish(pen, rng):
    flick = rng.uniform(-0.15, 0.15)
    pen.polygon([(-0.4, 0), (-0.92, -0.38 + flick), (-0.75, flick), (-0.92, 0.38 + flick)])
    pen.polygon([(-0.2, -0.2), (-0.15, -0.58), (0.3, -0.25)], "accent")
    pen.polygon([(-0.1, 0.25), (-0.2, 0.52), (0.15, 0.28)], "accent")
    pen.ellipse(0.08, 0, 0.6, 0.34)
    pen.polygon([(0.12, 0.02), (-0.15, 0.0), (-0.12, 0.2)], "dark")
    pen.ellipse(0.42, -0.08, 0.07, 0.07, tone="light")
    pen.ellipse(0.44, -0.08, 0.04, 0.04, tone="eye")


def _snail(pen, rng):
    stretch = rng.uniform(-0.08, 0.12)
    pen.limb([(-0.75, 0.62), (0.3, 0.62), (0.55 + stretch, 0.45), (0.62 + stretch, 0.2)], 0.24, "light")
    for feeler in (-0.1, 0.12):
        pen.limb([(0.62 + stretch, 0.15), (0.68 + feeler + stretch, -0.2)], 0.05, "light")
        pen.ellipse(0.68 + feeler + stretch, -0.22, 0.05, 0.05, tone="eye")
    pen.ellipse(-0.12, 0.08, 0.5, 0.48)
    angle = np.linspace(0, 4.2 * np.pi, 30) + rng.uniform(-0.5, 0.5)
    radius = np.linspace(0.42, 0.04, 30)
    pen.limb(np.stack([-0.12 + radius * np.cos(angle), 0.08 + radius * np.sin(angle)], 1), 0.06, "dark")


def _snake(pen, rng):
    x = np.linspace(-0.85, 0.6, 22)
    phase, waves = rng.uniform(0, 2 * np.pi), rng.uniform(1.3, 1.9)
    y = 0.15 + 0.28 * np.sin(phase + waves * np.pi * (x + 0.85))
    pen.limb(np.stack([x, y], 1)[::-1], 0.22, taper=0.35)
    pen.limb([(0.6, y[-1]), (0.72, y[-1] - 0.04)], 0.28)
    tip = (0.98, y[-1] + 0.02)
    pen.limb([(0.84, y[-1] - 0.03), tip], 0.05, "accent")
    pen.ellipse(0.72, y[-1] - 0.1, 0.045, 0.045, tone="eye")


def _turtle(pen, rng):
    reach = rng.uniform(-0.08, 0.1)
    for leg in (-0.4, 0.28):
        pen.limb([(leg, 0.35), (leg + rng.uniform(-0.12, 0.12), 0.66)], 0.2, "light")
    pen.limb([(0.4, 0.3), (0.72 + reach, 0.08)], 0.2, "light")
    pen.ellipse(0.78 + reach, 0.02, 0.17, 0.14, tone="light")
    pen.polygon([(-0.6, 0.35), (-0.85, 0.45), (-0.6, 0.45)], "light")
    angle = np.linspace(np.pi, 2 * np.pi, 20)
    pen.polygon(np.stack([-0.05 + 0.64 * np.cos(angle), 0.42 + 0.68 * np.sin(angle)], 1))
    for x, y in ((-0.05, 0.0), (-0.38, 0.2), (0.28, 0.2), (-0.05, 0.27)):
        pen.ellipse(x, y, 0.11, 0.1, tone="dark")
    pen.ellipse(0.82 + reach, -0.02, 0.035, 0.035, tone="eye")


_SHAPES = {
    "bird": _bird, "butterfly": _butterfly, "cat": _cat, "crab": _crab, "elephant": _elephant, "fish": _fish,
    "giraffe": _giraffe, "horse": _horse, "rabbit": _rabbit, "snail": _snail, "snake": _snake,
    "turtle": _turtle,
}  # fmt: skip


def draw_background(rng, place=None, size=(SIZE, SIZE)) -> np.ndarray:
    """A sky and a ground with soft patches, (H, W, 3) float32 from 0 to 255. place: a key of `PLACES`."""
    height, width = size
    place = place or str(rng.choice(list(PLACES)))
    top, far, near, bottom = (np.array(c, np.float32) + rng.uniform(-12, 12, 3) for c in PLACES[place])
    horizon = int(height * rng.uniform(0.45, 0.7))
    sky = np.linspace(0, 1, horizon, dtype=np.float32)[:, None, None]
    ground = np.linspace(0, 1, height - horizon, dtype=np.float32)[:, None, None]
    rows = np.concatenate([top + (far - top) * sky, near + (bottom - near) * ground])  # (H, 1, 3)
    patches = rng.normal(0, 1, (6, 9)).astype(np.float32)
    patches = np.asarray(Image.fromarray(patches).resize((width, height), Image.Resampling.BICUBIC))
    grain = rng.normal(0, 2, (height, width)).astype(np.float32)
    picture = rows + (5 * patches + grain)[..., None]
    if place == "at night":
        for _ in range(10):
            picture[rng.integers(0, horizon), rng.integers(0, width)] = 230
    return picture.clip(0, 255).astype(np.float32)


def _lay(picture, layer):
    """Lay an RGBA drawing, `FINE` times as large, on a float picture; returns (picture, coverage)."""
    layer = np.asarray(layer.reduce(FINE), dtype=np.float32)
    cover = layer[..., 3:] / 255  # (H, W, 1)
    return picture * (1 - cover) + layer[..., :3] * cover, cover[..., 0]


def _jitter(rng, colour, amount=14):
    """A colour near `colour`, brightness shifted more than hue."""
    moved = np.array(colour) + rng.uniform(-amount, amount) + rng.uniform(-amount / 2, amount / 2, 3)
    return tuple(int(v) for v in moved.clip(0, 255))


def _stripes(rng, size):
    """White stripes on black, (W, H) pixels: wavy bands, roughly upright, of one width per animal."""
    width, height = size
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    lean, period = rng.uniform(-0.35, 0.35), FINE * rng.uniform(5.0, 6.5)
    bend, length = FINE * rng.uniform(0.5, 1.4), FINE * rng.uniform(11, 18)
    wave = x + lean * y + bend * np.sin(2 * np.pi * y / length + rng.uniform(0, 6.28))
    band = np.sin(2 * np.pi * wave / period + rng.uniform(0, 6.28)) > rng.uniform(0.0, 0.15)
    return Image.fromarray((band * 255).astype(np.uint8))


def _animal_layer(rng, species, striped, rgb, centre, radius, size):
    """One animal on a transparent RGBA layer, `FINE` times the size of the picture (height, width)."""
    height, width = size
    fine = (width * FINE, height * FINE)
    pen = Pen()
    _SHAPES[species](pen, rng)
    turn, facing = math.radians(rng.uniform(-9, 9)), rng.choice((-1, 1))
    stretch = radius * FINE * np.array([rng.uniform(0.92, 1.08), rng.uniform(0.92, 1.08)])
    c, s = math.cos(turn), math.sin(turn)
    rotate = np.array([[c, s], [-s, c]])
    place = np.array(centre) * FINE

    rgb = np.array(rgb)
    accent = (235, 120, 40) if abs(rgb - (235, 120, 40)).sum() > 120 else (250, 220, 90)
    tones = {
        "body": tuple(int(v) for v in rgb),
        "dark": tuple(int(v) for v in rgb * 0.62),
        "light": tuple(int(v) for v in rgb * 0.35 + 160),
        "accent": accent,
        "eye": (15, 12, 12),
    }
    layer = Image.new("RGBA", fine)
    body = Image.new("L", fine)
    on_layer, on_body = ImageDraw.Draw(layer), ImageDraw.Draw(body)

    def put(points, tone, behind):
        corners = (points * (facing, 1) * stretch) @ rotate + place
        corners = [tuple(corner) for corner in corners]
        if tone == "gap":
            on_layer.polygon(corners, fill=(0, 0, 0, 0))
            return
        shade = 0.84 if behind else 1
        on_layer.polygon(corners, fill=(*(int(v * shade) for v in tones[tone]), 255))
        if tone == "body":
            on_body.polygon(corners, fill=255)

    for points, tone, behind in sorted(pen.shapes, key=lambda shape: (not shape[2], shape[1] != "body")):
        if tone == "body":
            put(points, tone, behind)
    if striped:
        ink = (38, 28, 26) if rgb.mean() > 75 else (225, 215, 200)
        layer.paste((*ink, 255), mask=ImageChops.multiply(body, _stripes(rng, fine)))
    for points, tone, behind in pen.shapes:
        if tone != "body":
            put(points, tone, behind)
    return layer


def draw_animal(rng, species=None, *, striped=False, colour=None, place=None) -> Drawing:
    """Draw one animal somewhere in a landscape.

    rng: a `numpy.random.Generator`; the same state gives the same drawing. species: one of `SPECIES`
    (random by default). colour: a key of `COLOURS`, place: a key of `PLACES` (random by default).
    """
    species = species or str(rng.choice(SPECIES))
    size = (SIZE, SIZE)
    background = draw_background(rng, place, size)
    if rng.random() < 0.35:
        background, _ = _lay(background, _clutter_layer(rng, size))
    radius = rng.uniform(21, 29)
    centre = 32 + rng.uniform(-1, 1, 2) * (32 - radius) * 0.8
    rgb = _jitter(rng, COLOURS[colour or str(rng.choice(list(COLOURS)))])
    layer = _animal_layer(rng, species, striped, rgb, centre, radius, size)
    image, mask = _lay(background, layer)
    return Drawing(
        image.round().astype(np.uint8), background.round().astype(np.uint8), mask, species, striped
    )


def _clutter_layer(rng, size):
    """Bushes, stones or a sun, to be ignored."""
    height, width = size
    layer = Image.new("RGBA", (width * FINE, height * FINE))
    brush = ImageDraw.Draw(layer)
    for _ in range(rng.integers(1, 4)):
        x, y = rng.uniform(0, width), rng.uniform(0.5, 1) * height
        r = rng.uniform(0.05, 0.13) * height
        tone = [(70, 110, 60), (120, 115, 110), (150, 120, 80)][rng.integers(3)]
        box = [FINE * (x - 1.4 * r), FINE * (y - r), FINE * (x + 1.4 * r), FINE * (y + r)]
        brush.ellipse(box, fill=(*_jitter(rng, tone), 255))
    return layer


# Scenes: what the captioner describes.
SCENE_ANIMALS = {
    "bird": "birds", "butterfly": "butterflies", "cat": "cats", "elephant": "elephants", "fish": "fish",
    "horse": "horses", "rabbit": "rabbits", "turtle": "turtles",
}  # fmt: skip
THINGS = ("tree", "house")


def _thing_layer(rng, thing, centre, radius, size):
    """A tree or a house on a transparent RGBA layer."""
    height, width = size
    layer = Image.new("RGBA", (width * FINE, height * FINE))
    brush = ImageDraw.Draw(layer)
    x, y = centre

    def at(*points):
        return [(FINE * (x + radius * u), FINE * (y + radius * v)) for u, v in points]

    if thing == "tree":
        brush.polygon(at((-0.13, 0), (0.13, 0), (0.16, 1), (-0.16, 1)), fill=(105, 70, 40, 255))
        leaf = _jitter(rng, (45, 125, 50))
        for u, v, r in ((-0.35, -0.15, 0.45), (0.35, -0.15, 0.45), (0, -0.55, 0.5)):
            brush.ellipse(at((u - r, v - r), (u + r, v + r)), fill=(*leaf, 255))
    else:
        wall = _jitter(rng, (215, 175, 130))
        brush.polygon(at((-0.7, -0.1), (0.7, -0.1), (0.7, 1), (-0.7, 1)), fill=(*wall, 255))
        brush.polygon(at((-0.9, -0.1), (0, -0.9), (0.9, -0.1)), fill=(*_jitter(rng, (150, 60, 50)), 255))
        brush.polygon(at((-0.18, 0.4), (0.18, 0.4), (0.18, 1), (-0.18, 1)), fill=(85, 60, 45, 255))
    return layer


def draw_scene(rng) -> Scene:
    """Draw a random scene of one to three animals, perhaps with a tree or a house, and say what it shows.

    Four kinds of sentence: "a small striped red cat in the snow", "two white rabbits at night",
    "a blue bird beside a tree in a meadow", "a grey horse left of a yellow fish in the desert".
    """
    height, width = SCENE_SIZE
    place = str(rng.choice(list(PLACES)))
    picture = draw_background(rng, place, SCENE_SIZE)

    def add(name, colour, striped, centre, radius):
        nonlocal picture
        rgb = _jitter(rng, COLOURS[colour])
        layer = _animal_layer(rng, name, striped, rgb, centre, radius, SCENE_SIZE)
        picture, _ = _lay(picture, layer)

    def somewhere(low, high, radius):
        return rng.uniform(low, high), rng.uniform(radius + 2, height - radius - 1)

    def pick(options):
        return str(rng.choice(list(options)))

    name, colour = pick(SCENE_ANIMALS), pick(COLOURS)
    kind = rng.integers(4)
    if kind == 0:
        small, striped = rng.random() < 0.5, rng.random() < 0.5
        radius = rng.uniform(11, 14) if small else rng.uniform(23, 28)
        add(name, colour, striped, somewhere(radius, width - radius, radius), radius)
        words = ["a", "small" if small else "big", "striped" if striped else "", colour, name]
    elif kind == 1:
        count = int(rng.integers(2, 4))
        for number in range(count):
            middle = width * (number + 0.5) / count
            radius = rng.uniform(12, 15)
            add(name, colour, False, somewhere(middle - 2, middle + 2, radius), radius)
        words = [("two", "three")[count - 2], colour, SCENE_ANIMALS[name]]
    elif kind == 2:
        thing, side = pick(THINGS), rng.random() < 0.5
        radius = rng.uniform(15, 20)
        near, far = rng.uniform(20, 26), rng.uniform(68, 76)
        layer = _thing_layer(rng, thing, (far if side else near, rng.uniform(34, 40)), 20, SCENE_SIZE)
        picture, _ = _lay(picture, layer)
        spot = near if side else far
        add(name, colour, False, somewhere(spot - 2, spot + 2, radius), radius)
        words = ["a", colour, name, "beside", "a", thing]
    else:
        other, tint = pick(animal for animal in SCENE_ANIMALS if animal != name), pick(COLOURS)
        for middle, species, shade in ((24, name, colour), (72, other, tint)):
            radius = rng.uniform(15, 20)
            add(species, shade, False, somewhere(middle - 3, middle + 3, radius), radius)
        words = ["a", colour, name, "left", "of", "a", tint, other]
    sentence = " ".join(word for word in [*words, place] if word)
    return Scene(picture.round().clip(0, 255).astype(np.uint8), sentence)


def rng_for(seed: int, number: int) -> np.random.Generator:
    """The random generator of drawing `number` of series `seed`, the same on every machine."""
    return np.random.default_rng([seed, number])
