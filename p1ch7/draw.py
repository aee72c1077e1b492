"""Drawings of CIFAR-10's ten classes, 32x32 pixels, in CIFAR-10's own files.

Everything is drawn for a whole batch of images at once. A shape is a *signed distance*: a tensor (B, 32, 32)
that holds how far each pixel lies outside the shape (negative inside). A pixel on the edge is covered in part,
so edges come out smooth without drawing at a higher resolution. Airplanes and flying birds are built from
points in space, turned at random and projected. The classes share backgrounds, colors, sizes and clutter, and
differ in shape, so that counting blue pixels does not solve the task.
"""

import math
import pickle
import struct
from pathlib import Path

import torch

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SIZE = 32
TRAIN_PER_CLASS, TEST_PER_CLASS = 2000, 500
# Birds and airplanes: their size, and how far off the middle they may be (1: half the image, 16 pixels). They
# stand about as far apart as the birds and airplanes of CIFAR-10, large ones cut off by an edge here and there.
SPREAD_SIZE, SPREAD_OFFSET = (0.65, 1.05), 0.35


class Canvas:
    """A batch of images (B, 3, 32, 32) in [0, 1] and the frame in which shapes are given.

    The frame has x to the right and y up; -1 to 1 spans the image until `place` moves, turns and scales it.
    """

    def __init__(self, count: int, generator: torch.Generator):
        self.count, self.generator = count, generator
        axis = (torch.arange(SIZE) + 0.5) * 2 / SIZE - 1
        self.u = axis.expand(count, SIZE, SIZE)
        self.v = -axis[:, None].expand(count, SIZE, SIZE)
        self.x, self.y, self.pixel = self.u, self.v, torch.full((count, 1, 1), 2 / SIZE)
        self.image = torch.zeros(count, 3, SIZE, SIZE)

    def uniform(self, low, high) -> torch.Tensor:
        """One random number per image, (B, 1, 1)."""
        return low + (high - low) * torch.rand(self.count, 1, 1, generator=self.generator)

    def chance(self, probability: float) -> torch.Tensor:
        """A coin per image, (B, 1, 1) of 0.0 or 1.0."""
        return (torch.rand(self.count, 1, 1, generator=self.generator) < probability).float()

    def color(self, *palette, spread=0.06) -> torch.Tensor:
        """A random one of the palette's colors per image, a little off, (B, 3, 1, 1)."""
        table = torch.tensor(palette, dtype=torch.float32)
        pick = torch.randint(len(palette), (self.count,), generator=self.generator)
        noise = torch.randn(self.count, 3, generator=self.generator) * spread
        return (table[pick] + noise).clamp(0, 1)[:, :, None, None]

    def place(self, scale, turn=0.35, offset=0.22, mirror=True):
        """Put the frame somewhere: `scale` (low, high), up to `turn` radians, up to `offset` off the middle."""
        scale, angle = self.uniform(*scale), self.uniform(-turn, turn)
        u, v = self.u - self.uniform(-offset, offset), self.v - self.uniform(-offset, offset)
        cos, sin = angle.cos(), angle.sin()
        flip = 1 - 2 * self.chance(0.5 if mirror else 0)
        self.x, self.y = flip * (cos * u + sin * v) / scale, (cos * v - sin * u) / scale
        self.pixel = 2 / SIZE / scale

    def fill(self, distance, color, shown=1.0):
        """Paint the shape with `color` (B, 3, 1, 1); `shown` (B, 1, 1) is 0 where an image does not have it."""
        cover = (0.5 - distance / self.pixel).clamp(0, 1) * shown
        self.image += cover[:, None] * (color - self.image)

    def ellipse(self, cx, cy, rx, ry, angle=0.0):
        """Signed distance (approximately) to an ellipse with radii rx, ry, turned by `angle` radians."""
        angle = torch.as_tensor(angle)
        dx, dy = self.x - cx, self.y - cy
        along, across = dx * angle.cos() + dy * angle.sin(), dy * angle.cos() - dx * angle.sin()
        return (((along / rx) ** 2 + (across / ry) ** 2).sqrt() - 1) * torch.minimum(
            torch.as_tensor(rx), torch.as_tensor(ry)
        )

    def capsule(self, ax, ay, bx, by, ra, rb=None):
        """Signed distance to a line from a to b whose half-width goes from `ra` to `rb`."""
        rb = ra if rb is None else rb
        dx, dy = bx - ax, by - ay
        length = torch.as_tensor(dx * dx + dy * dy).clamp(min=1e-4)
        t = (((self.x - ax) * dx + (self.y - ay) * dy) / length).clamp(0, 1)
        return ((self.x - ax - t * dx) ** 2 + (self.y - ay - t * dy) ** 2).sqrt() - (ra + t * (rb - ra))

    def polygon(self, *points):
        """Signed distance to a convex polygon; points (x, y) in either sense of rotation."""
        points = [(torch.as_tensor(x), torch.as_tensor(y)) for x, y in points]
        pairs = list(zip(points, points[1:] + points[:1], strict=True))
        sense = torch.sign(sum(ax * by - bx * ay for (ax, ay), (bx, by) in pairs))
        distance = None
        for (ax, ay), (bx, by) in pairs:
            dx, dy = bx - ax, by - ay
            length = (dx * dx + dy * dy).sqrt().clamp(min=1e-3)
            edge = sense * ((self.x - ax) * dy - (self.y - ay) * dx) / length
            distance = edge if distance is None else torch.maximum(distance, edge)
        return distance

    def noise(self, cells: int) -> torch.Tensor:
        """Smooth random texture (B, 1, 32, 32) in about [-1, 1] with `cells` blobs from side to side."""
        coarse = torch.rand(self.count, 1, cells + 2, cells + 2, generator=self.generator) * 2 - 1
        return torch.nn.functional.interpolate(coarse, SIZE, mode="bicubic", align_corners=False)


SKY = [
    (0.45, 0.65, 0.9),
    (0.6, 0.75, 0.9),
    (0.8, 0.85, 0.9),
    (0.25, 0.45, 0.8),
    (0.9, 0.75, 0.6),
    (0.65, 0.65, 0.7),
]
LAND = [
    (0.35, 0.5, 0.25),
    (0.55, 0.55, 0.3),
    (0.5, 0.42, 0.32),
    (0.6, 0.58, 0.55),
    (0.25, 0.35, 0.2),
    (0.8, 0.8, 0.8),
]
WATER = [(0.2, 0.4, 0.55), (0.35, 0.5, 0.6), (0.15, 0.3, 0.4)]
GREYS = [(0.9, 0.9, 0.92), (0.75, 0.77, 0.8), (0.5, 0.52, 0.55), (0.3, 0.3, 0.33)]
FUR = [(0.45, 0.3, 0.18), (0.7, 0.52, 0.32), (0.2, 0.17, 0.15), (0.85, 0.8, 0.72), (0.55, 0.53, 0.5)]
PLUMES = [*FUR, (0.9, 0.9, 0.9), (0.6, 0.25, 0.2), (0.3, 0.4, 0.65), (0.75, 0.7, 0.3), (0.4, 0.45, 0.3)]
PAINT = [
    *GREYS,
    (0.75, 0.2, 0.18),
    (0.2, 0.35, 0.65),
    (0.85, 0.7, 0.25),
    (0.25, 0.45, 0.35),
    (0.6, 0.45, 0.35),
]
BLACK = [(0.1, 0.1, 0.12)]


def background(canvas: Canvas, sky: float, ground=LAND):
    """Sky, a horizon somewhere, texture and clutter. `sky`: the part of the images that are sky alone."""
    canvas.x, canvas.y, canvas.pixel = canvas.u, canvas.v, torch.full((canvas.count, 1, 1), 2 / SIZE)
    top, bottom = canvas.color(*SKY), canvas.color(*SKY)
    canvas.image = top + (bottom - top) * (0.5 - 0.5 * canvas.v)[:, None]
    canvas.image = canvas.image + canvas.noise(4) * canvas.uniform(0, 0.16)[:, None]
    has_land = 1 - canvas.chance(sky)
    horizon = canvas.uniform(-0.9, 1.6) + canvas.noise(3)[:, 0] * canvas.uniform(0, 0.4)
    land = canvas.color(*ground) + canvas.noise(10) * canvas.uniform(0, 0.2)[:, None]
    canvas.fill(canvas.v - horizon, land, has_land)
    for _ in range(3):  # branches, poles, wires
        at, slope = canvas.uniform(-1, 1), canvas.uniform(-1.2, 1.2)
        upright = canvas.chance(0.4)
        ax, ay = at * upright - (1 - upright) * 1.2, at * (1 - upright) - upright * 1.2
        bx, by = ax + 2.4 * (1 - upright) + slope * upright, ay + 2.4 * upright + slope * (1 - upright)
        line = canvas.capsule(ax, ay, bx, by, canvas.uniform(0.015, 0.07))
        canvas.fill(line, canvas.color(*FUR, *GREYS), canvas.chance(0.1))
    for _ in range(3):  # leaves, stones, clouds, far things
        blob = canvas.ellipse(
            canvas.uniform(-1, 1), canvas.uniform(-1, 1), canvas.uniform(0.06, 0.4), canvas.uniform(0.05, 0.25),
            canvas.uniform(-1.5, 1.5),
        )  # fmt: skip
        canvas.fill(blob, canvas.color(*LAND, *SKY, *PAINT), canvas.chance(0.15))


def finish(canvas: Canvas) -> torch.Tensor:
    """Light, contrast, blur and noise, then bytes: (B, 3, 32, 32) uint8."""
    angle = canvas.uniform(-math.pi, math.pi)
    slope = (canvas.u * angle.cos() + canvas.v * angle.sin())[:, None] * canvas.uniform(0, 0.28)[:, None]
    image = canvas.image * (1 + slope)
    soft = torch.nn.functional.avg_pool2d(
        torch.nn.functional.pad(image, (1, 1, 1, 1), mode="replicate"), 3, stride=1
    )
    image = image + (soft - image) * canvas.uniform(0, 0.7)[:, None]
    image = (image - 0.5) * canvas.uniform(0.8, 1.15)[:, None] + 0.5 + canvas.uniform(-0.22, 0.2)[:, None]
    tint = 1 + 0.1 * torch.randn(canvas.count, 3, 1, 1, generator=canvas.generator)
    grain = torch.randn(canvas.count, 3, SIZE, SIZE, generator=canvas.generator)
    image = image * tint + grain * canvas.uniform(0.005, 0.03)[:, None]
    return (image.clamp(0, 1) * 255).round().to(torch.uint8)


def turned(canvas: Canvas, yaw, pitch, roll):
    """A function that turns points of space (x forward, y up, z to the side) and drops the depth.

    yaw, pitch, roll: (low, high) in radians; it answers with (x, y) of (B, 1, 1) each.
    """
    a, b, c = canvas.uniform(*yaw), canvas.uniform(*pitch), canvas.uniform(*roll)

    def project(x, y, z):
        x, y, z = (torch.as_tensor(value, dtype=torch.float32) for value in (x, y, z))
        y, z = y * c.cos() - z * c.sin(), y * c.sin() + z * c.cos()
        x, z = x * a.cos() + z * a.sin(), z * a.cos() - x * a.sin()
        y, z = y * b.cos() - z * b.sin(), y * b.sin() + z * b.cos()
        return x, y

    return project


def draw_airplane(canvas: Canvas):
    """Airliners, jets and propeller planes from the side, from below and in between."""
    background(canvas, sky=0.55)
    canvas.place(SPREAD_SIZE, turn=0.25, offset=SPREAD_OFFSET)
    project = turned(canvas, (-0.6, 0.6), (-0.55, 0.55), (-0.3, 0.3))
    body, wing = canvas.color(*PAINT, *GREYS), canvas.color(*PAINT, *GREYS)
    slim, span, sweep = canvas.uniform(0.09, 0.17), canvas.uniform(0.65, 1.1), canvas.uniform(0.05, 0.5)
    chord, high = canvas.uniform(0.16, 0.32), canvas.uniform(-0.1, 0.12)

    def plane(root_x, root_y, length, tip, back, side):
        """A wing: a flat quadrilateral from the body out to one side."""
        return canvas.polygon(
            project(root_x + length, root_y, 0), project(root_x, root_y, 0),
            project(root_x - back, root_y + 0.08, side * tip),
            project(root_x - back + 0.5 * length, root_y + 0.08, side * tip),
        )  # fmt: skip

    shade = canvas.uniform(0.55, 0.9)[:, None]
    canvas.fill(plane(0.0, high, 1.4 * chord, span, sweep, -1), wing * shade)
    canvas.fill(plane(-0.85, 0.05, chord, 0.4 * span, 0.5 * sweep, -1), wing * shade)
    nose, tail = project(0.85, 0, 0), project(-0.9, 0.04, 0)
    canvas.fill(canvas.capsule(*nose, *tail, slim, 0.45 * slim), body)
    fin = canvas.uniform(0.3, 0.5)
    canvas.fill(
        canvas.polygon(
            project(-0.6, 0.05, 0), project(-0.95, 0.05, 0), project(-1.08, fin, 0), project(-0.88, fin, 0)
        ),
        canvas.color(*PAINT),
    )
    stripe = canvas.color(*PAINT, *BLACK)
    ends = project(0.72, 0.3 * slim, 0), project(-0.75, 0.3 * slim, 0)
    canvas.fill(canvas.capsule(*ends[0], *ends[1], 0.025), stripe, canvas.chance(0.5))
    canvas.fill(plane(0.0, high, 1.4 * chord, span, sweep, 1), wing)
    canvas.fill(plane(-0.85, 0.05, chord, 0.4 * span, 0.5 * sweep, 1), wing)
    engines, dark = canvas.chance(0.6), canvas.color(*GREYS, *BLACK)
    for side in (-0.4, 0.4):
        front = project(0.3 - 0.3 * sweep, high - 0.1, side * span)
        rear = project(0.05 - 0.3 * sweep, high - 0.1, side * span)
        canvas.fill(canvas.capsule(*front, *rear, 0.06), dark, engines)


def draw_bird(canvas: Canvas):
    """Half of the birds fly, half stand or sit; small ones and long-necked ones."""
    flies = canvas.chance(0.45)
    background(canvas, sky=0.4)
    canvas.place(SPREAD_SIZE, turn=0.25, offset=SPREAD_OFFSET)
    plume, breast, bill = canvas.color(*PLUMES), canvas.color(*PLUMES), canvas.color((0.85, 0.6, 0.2), *BLACK)
    dark = plume * canvas.uniform(0.45, 0.85)[:, None]
    # Flying: a body in space with two bent wings.
    project = turned(canvas, (-0.6, 0.6), (-0.55, 0.55), (-0.3, 0.3))
    span, beat, chord = canvas.uniform(0.7, 1.15), canvas.uniform(-0.5, 0.8), canvas.uniform(0.16, 0.3)

    def wing(side, color):
        elbow_y, tip_y = 0.45 * span * beat, 0.3 * span * beat - canvas.uniform(-0.2, 0.25)
        front, rear = project(0.3, 0.08, 0), project(0.3 - 1.6 * chord, 0.08, 0)
        joint = project(0.38, 0.08 + elbow_y, side * 0.45 * span)
        back = project(0.38 - 1.3 * chord, 0.08 + elbow_y, side * 0.45 * span)
        tip = project(-0.05, 0.08 + tip_y, side * span)
        canvas.fill(canvas.polygon(front, rear, back, joint), color, flies)
        canvas.fill(canvas.polygon(joint, back, tip), color, flies)

    wing(-1, dark)
    neck = canvas.uniform(0.45, 0.8)
    head, chest, rump = project(neck, 0.12, 0), project(0.3, 0, 0), project(-0.4, 0, 0)
    fan = project(-0.9, 0.04, 0.2), project(-0.9, 0.04, -0.2)
    canvas.fill(canvas.polygon(project(-0.3, 0, 0), *fan), dark, flies)
    canvas.fill(canvas.capsule(*chest, *rump, canvas.uniform(0.14, 0.22), 0.08), breast, flies)
    canvas.fill(canvas.capsule(*chest, *head, 0.11, 0.1), plume, flies)
    canvas.fill(canvas.capsule(*head, *project(neck + 0.24, 0.1, 0), 0.05, 0.01), bill, flies)
    wing(1, plume)
    # Standing: seen from the side.
    stands = 1 - flies
    fat, tilt = canvas.uniform(0.26, 0.42), canvas.uniform(-0.1, 0.8)
    reach = canvas.uniform(0.3, 0.75)
    leg, hip = canvas.uniform(0.05, 0.5), -0.6 * fat
    for shift in (-0.05, 0.1):
        foot = shift + canvas.uniform(-0.1, 0.1)
        canvas.fill(canvas.capsule(shift + 0 * leg, hip, foot, hip - 0.3 - leg, 0.03), bill, stands)
    back_x, back_y = -0.45 * tilt.cos(), -0.45 * tilt.sin()
    canvas.fill(
        canvas.capsule(back_x, back_y, 2.3 * back_x, 2.1 * back_y, 0.12, canvas.uniform(0.04, 0.12)),
        dark,
        stands,
    )
    canvas.fill(canvas.ellipse(0.0, 0.0, 0.55, fat, tilt), plume, stands)
    canvas.fill(canvas.ellipse(0.14, -0.3 * fat, 0.32, 0.6 * fat, tilt), breast, stands)
    canvas.fill(canvas.ellipse(-0.14, 0.02, 0.36, 0.5 * fat, tilt - 0.25), dark, stands * canvas.chance(0.8))
    head_x, head_y = 0.35 + 0.2 * reach, 0.2 + reach * canvas.uniform(0.5, 1.0)
    canvas.fill(canvas.capsule(0.3 + 0 * reach, 0.15, head_x, head_y, 0.14, 0.1), plume, stands)
    canvas.fill(canvas.ellipse(head_x, head_y, 0.19, 0.17), plume, stands)
    long = canvas.uniform(0.25, 0.5)
    canvas.fill(
        canvas.polygon(
            (head_x + 0.1, head_y + 0.08), (head_x + 0.1, head_y - 0.07), (head_x + long, head_y - 0.06)
        ),
        bill,
        stands,
    )
    canvas.fill(canvas.ellipse(head_x + 0.06, head_y + 0.04, 0.045, 0.045), canvas.color(*BLACK), stands)


def _wheels(canvas: Canvas, *places):
    tyre, hub = canvas.color(*BLACK), canvas.color(*GREYS)
    for x in places:
        canvas.fill(canvas.ellipse(x, -0.38, 0.2, 0.2), tyre)
        canvas.fill(canvas.ellipse(x, -0.38, 0.09, 0.09), hub)


def draw_automobile(canvas: Canvas):
    """Cars from the side."""
    background(canvas, sky=0.05)
    canvas.place((0.6, 0.95), turn=0.15)
    paint, glass = canvas.color(*PAINT, *BLACK), canvas.color((0.3, 0.4, 0.5), (0.7, 0.8, 0.9))
    roof = canvas.uniform(0.3, 0.55)
    canvas.fill(canvas.polygon((-0.65, 0.0), (-0.35, roof), (0.25, roof), (0.55, 0.0)), paint)
    canvas.fill(canvas.polygon((-0.5, 0.02), (-0.3, roof - 0.08), (0.2, roof - 0.08), (0.42, 0.02)), glass)
    canvas.fill(canvas.capsule(-0.7, -0.18, 0.75, -0.2, 0.24), paint * 0.9)
    _wheels(canvas, -0.55, 0.55)


def draw_truck(canvas: Canvas):
    """A box on wheels with a cab in front."""
    background(canvas, sky=0.05)
    canvas.place((0.6, 0.95), turn=0.15)
    box, cab = canvas.color(*PAINT), canvas.color(*PAINT)
    roof, front = canvas.uniform(0.4, 0.75), canvas.uniform(0.15, 0.45)
    canvas.fill(canvas.polygon((-0.95, -0.35), (-0.95, roof), (0.35, roof), (0.35, -0.35)), box)
    canvas.fill(canvas.polygon((0.38, -0.35), (0.38, front), (0.75, front), (0.95, 0.0), (0.95, -0.35)), cab)
    window = canvas.polygon((0.5, 0.02), (0.5, front - 0.06), (0.72, front - 0.06), (0.85, 0.02))
    canvas.fill(window, canvas.color((0.3, 0.4, 0.5), (0.7, 0.8, 0.9)))
    _wheels(canvas, -0.7, -0.35, 0.65)


def draw_ship(canvas: Canvas):
    """A hull with a bridge, or with sails, on water."""
    background(canvas, sky=0.0, ground=WATER)
    canvas.place((0.6, 0.95), turn=0.12)
    bow, sails = canvas.uniform(0.1, 0.3), canvas.chance(0.4)
    hull = canvas.polygon((-0.85, -0.05), (-0.7, -0.4), (0.65, -0.4), (0.95, bow - 0.1))
    canvas.fill(canvas.capsule(0.05, -0.1, 0.05, 0.9, 0.03), canvas.color(*FUR, *GREYS))
    sail = canvas.polygon((0.0, 0.9), (0.0, 0.05), (canvas.uniform(-0.75, -0.4), 0.05))
    canvas.fill(sail, canvas.color(*GREYS), sails)
    bridge = canvas.polygon((-0.6, -0.1), (-0.55, 0.3), (-0.05, 0.3), (0.1, -0.1))
    canvas.fill(bridge, canvas.color(*GREYS), 1 - sails)
    canvas.fill(hull, canvas.color(*PAINT))


def _four_legs(canvas: Canvas, *, leg, neck, head, ears, antlers=0.0, tail=0.3, mane=0.0, scale=(0.6, 0.95)):
    """An animal from the side; lengths are (low, high), `ears` (height, pointed) and the rest probabilities."""
    background(canvas, sky=0.03)
    canvas.place(scale, turn=0.15)
    fur, belly = canvas.color(*FUR), canvas.uniform(0.2, 0.3)
    dark = fur * 0.7
    length, up = canvas.uniform(*leg), canvas.uniform(*neck)
    for x in (-0.45, -0.33, 0.28, 0.4):
        foot = x + canvas.uniform(-0.12, 0.12)
        canvas.fill(
            canvas.capsule(x, -0.1, foot, -0.15 - length, 0.075, 0.05), dark if x in (-0.33, 0.28) else fur
        )
    wag = canvas.uniform(-0.3, 0.5)
    canvas.fill(canvas.capsule(-0.5, 0.05, -0.5 - tail, 0.05 + wag * tail * 2, 0.06, 0.04), dark)
    canvas.fill(canvas.capsule(-0.38, 0.0, 0.35, 0.02, belly), fur)
    head_x, head_y = 0.45 + 0.45 * up, 0.12 + up
    canvas.fill(canvas.capsule(0.38, 0.08, head_x, head_y, 0.15, 0.11), fur)
    canvas.fill(
        canvas.capsule(0.3, 0.18, head_x - 0.1, head_y + 0.08, 0.07),
        canvas.color(*BLACK),
        canvas.chance(mane),
    )
    size, snout = head
    canvas.fill(canvas.ellipse(head_x, head_y, size, size * 0.9), fur)
    canvas.fill(
        canvas.capsule(head_x, head_y, head_x + snout, head_y - 0.5 * snout, 0.7 * size, 0.45 * size), fur
    )
    height, width = ears
    root = head_y + 0.4 * size
    for x in (-0.6, 0.35):
        foot = head_x + x * size
        canvas.fill(
            canvas.polygon((foot - width, root), (foot + width, root), (foot, head_y + size + height)), dark
        )
    horned = canvas.chance(antlers)
    for x in (-0.3, 0.3):
        canvas.fill(canvas.capsule(head_x, head_y, head_x + x, head_y + 0.5, 0.03), dark, horned)
        canvas.fill(
            canvas.capsule(head_x + 0.6 * x, head_y + 0.3, head_x + 1.2 * x, head_y + 0.3, 0.025),
            dark,
            horned,
        )
    canvas.fill(canvas.ellipse(head_x + 0.4 * size, head_y + 0.15 * size, 0.05, 0.05), canvas.color(*BLACK))


def draw_cat(canvas: Canvas):
    """Short legs, round head, pointed ears, a long tail."""
    _four_legs(canvas, leg=(0.2, 0.4), neck=(0.05, 0.25), head=(0.27, 0.08), ears=(0.14, 0.12), tail=0.5)


def draw_dog(canvas: Canvas):
    """A long snout and hanging ears."""
    _four_legs(canvas, leg=(0.3, 0.5), neck=(0.15, 0.4), head=(0.22, 0.3), ears=(-0.35, 0.1), tail=0.35)


def draw_deer(canvas: Canvas):
    """Long thin legs, a long neck, often antlers."""
    _four_legs(
        canvas,
        leg=(0.5, 0.75),
        neck=(0.35, 0.55),
        head=(0.15, 0.22),
        ears=(0.12, 0.07),
        antlers=0.6,
        tail=0.1,
    )


def draw_horse(canvas: Canvas):
    """Long legs, a strong neck with a mane."""
    _four_legs(
        canvas, leg=(0.5, 0.75), neck=(0.3, 0.5), head=(0.17, 0.36), ears=(0.08, 0.06), mane=0.9, tail=0.3
    )


def draw_frog(canvas: Canvas):
    """Squat, with eyes on top and folded legs."""
    background(canvas, sky=0.0)
    canvas.place((0.55, 0.95), turn=0.3)
    skin = canvas.color((0.35, 0.55, 0.25), (0.5, 0.5, 0.25), (0.45, 0.38, 0.25), (0.3, 0.4, 0.3))
    for x in (-0.6, 0.6):
        canvas.fill(canvas.ellipse(x, -0.2, 0.34, 0.2, 0.7 * x), skin * 0.8)
        canvas.fill(canvas.capsule(x, -0.4, 1.4 * x, -0.45, 0.06), skin * 0.8)
    canvas.fill(canvas.ellipse(0.0, -0.05, 0.6, canvas.uniform(0.35, 0.5)), skin)
    canvas.fill(canvas.capsule(-0.25, -0.1, 0.25, -0.1, 0.03), canvas.color(*BLACK))
    for x in (-0.28, 0.28):
        canvas.fill(canvas.ellipse(x, 0.32, 0.15, 0.15), skin)
        canvas.fill(canvas.ellipse(x, 0.34, 0.07, 0.07), canvas.color(*BLACK))


def draw(name: str, count: int, seed: int) -> torch.Tensor:
    """`count` drawings of the class `name`: (count, 3, 32, 32) uint8. Same seed, same bytes."""
    generator = torch.Generator().manual_seed(1000 * seed + CLASSES.index(name))
    parts = []
    while count > 0:
        canvas = Canvas(min(count, 250), generator)
        globals()[f"draw_{name}"](canvas)
        parts.append(finish(canvas))
        count -= 250
    return torch.cat(parts)


def generate(folder: Path, train_per_class: int = TRAIN_PER_CLASS, test_per_class: int = TEST_PER_CLASS):
    """Fill `folder` with `cifar-10-batches-py`: five training batches, a test batch and the names.

    The files are pickles with CIFAR-10's keys: b"data" (N, 3072) uint8, all reds before all greens before all
    blues, row by row, and b"labels", a list of N numbers from 0 to 9.
    """
    target = Path(folder) / "cifar-10-batches-py"
    target.mkdir(parents=True)
    each = train_per_class // 5
    seeds = {"test_batch": (7000, test_per_class)}
    seeds.update({f"data_batch_{n}": (n, each) for n in range(1, 6)})
    for name, (seed, count) in seeds.items():
        data = torch.cat([draw(kind, count, seed) for kind in CLASSES]).flatten(1)  # (10 count, 3072)
        order = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))
        labels = torch.arange(10).repeat_interleave(count)[order]
        write_batch(target / name, data[order].numpy(), labels.tolist(), f"drawn, {name}")
    write_names(target / "batches.meta", 10 * each)


class _OldPickler(pickle._Pickler):
    """Writes bytes as the strings of Python 2, which is what CIFAR-10's files hold.

    Readers then choose, as for the real files: encoding="bytes" or encoding="latin1" (torchvision's choice).
    """

    dispatch = dict(pickle._Pickler.dispatch)

    def save_old_string(self, value):
        self.write(pickle.BINSTRING + struct.pack("<i", len(value)) + value)
        self.memoize(value)

    dispatch[bytes] = save_old_string


def _dump(path: Path, content):
    with open(path, "wb") as file:
        _OldPickler(file, protocol=2).dump(content)


def write_batch(path: Path, data, labels: list[int], about: str = ""):
    """Write one CIFAR-10 batch: `data` (N, 3072) uint8 and `labels`, a pickle with the original's four keys."""
    names = [f"{number:05d}.png".encode() for number in range(len(labels))]
    _dump(path, {b"batch_label": about.encode(), b"labels": labels, b"data": data, b"filenames": names})


def write_names(path: Path, per_batch: int):
    """Write batches.meta, the names of the ten classes."""
    names = [name.encode() for name in CLASSES]
    _dump(path, {b"num_cases_per_batch": per_batch, b"label_names": names, b"num_vis": 3 * SIZE * SIZE})
