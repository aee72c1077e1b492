"""Checks of chapter 4's exercises."""

import torch

from util.exercises import exercise, expect


@exercise(
    "4.1", hint="Undo the division, then the shift, then the scaling to 0…1. In which order do the axes go?"
)
def displayable(answer):
    generator = torch.Generator().manual_seed(41)
    pixels = torch.randint(0, 256, (2, 3, 5, 7), dtype=torch.uint8, generator=generator)
    mean, std = torch.tensor([0.4, 0.5, 0.3]), torch.tensor([0.2, 0.25, 0.3])
    batch = (pixels.float() / 255 - mean[:, None, None]) / std[:, None, None]
    got = answer(batch, mean, std)
    expect(isinstance(got, torch.Tensor), "Return a tensor.")
    expect(got.shape == (2, 5, 7, 3), f"Two pictures of 5 × 7 make (2, 5, 7, 3), not {tuple(got.shape)}.")
    expect(got.dtype == torch.uint8, f"Pictures on disk are uint8, yours are {got.dtype}.")
    difference = (got.int() - pixels.permute(0, 2, 3, 1).int()).abs()
    expect(difference.max() <= 1, "The pixels are not those that were normalized.")
    expect(
        difference.max() == 0, "Some pixels are darker by one: converting to integers cuts off. Round first."
    )
    bright = answer(batch + 100, mean, std)
    expect((bright == 255).all(), "A pixel brighter than white must become 255; yours wrapped around.")
    expect((answer(batch - 100, mean, std) == 0).all(), "A pixel darker than black must become 0.")


@exercise(
    "4.2", hint="A coronal slice holds one row of every axial slice. torch.nn.functional.interpolate resizes."
)
def coronal(answer):
    z, y, x = torch.meshgrid(torch.arange(10), torch.arange(6), torch.arange(8), indexing="ij")
    hu = (100 * z + 7 * y + x).to(torch.int16)
    for spacing, rows in (((1.0, 1.0, 1.0), 10), ((2.5, 0.5, 0.5), 50), ((3.0, 1.5, 1.5), 20)):
        got = answer(hu, 4, spacing)
        expect(isinstance(got, torch.Tensor), "Return a tensor.")
        expect(
            got.shape == (rows, 8),
            f"10 slices, {spacing[0]} mm apart, pixels of {spacing[2]} mm: ({rows}, 8), not {tuple(got.shape)}.",
        )
        expect(
            got[0].float().mean() > got[-1].float().mean(),
            "The patient stands on his head: the last slice is the topmost one.",
        )
        expect((got[0].float() - (900 + 28 + torch.arange(8))).abs().max() < 1, "The top row is not row 4.")
        expect((got[-1].float() - (28 + torch.arange(8))).abs().max() < 1, "The bottom row is not row 4.")


@exercise(
    "4.3", hint="Labels are names, not positions. torch.unique knows a way from the ones to the others."
)
def one_hot_labels(answer):
    for labels in ([6, 3, 6, 9, 5], [2, 2, 2], [40, -7, 1000, -7]):
        got = answer(torch.tensor(labels))
        expect(isinstance(got, torch.Tensor), "Return a tensor.")
        kinds = sorted(set(labels))
        want = (len(labels), len(kinds))
        expect(got.shape == want, f"Labels {labels} need shape {want}, not {tuple(got.shape)}.")
        expect(got.dtype == torch.float32, f"Networks want float32, not {got.dtype}.")
        rows = [[float(label == kind) for kind in kinds] for label in labels]
        expect(got.tolist() == rows, f"Labels {labels}: a wrong row; columns go by ascending label.")


@exercise(
    "4.4", hint="Only values that occur need to be tried. Which share of the labels does each one get right?"
)
def threshold(answer):
    generator = torch.Generator().manual_seed(44)
    for gap, noise in ((30.0, 5.0), (12.0, 10.0), (-8.0, 6.0)):
        good = torch.rand(300, generator=generator) < 0.4
        values = 100 + noise * torch.randn(300, generator=generator) - gap * good
        limit = float(answer(values, good))
        candidates = torch.cat([values, values.max()[None] + 1])
        right = ((values[None] < candidates[:, None]) == good).float().mean(1)
        yours = ((values < limit) == good).float().mean()
        expect(
            yours >= right.max() - 1e-6,
            f"'value < {limit:.2f} means good' is right for {yours:.1%}; {right.max():.1%} is possible.",
        )


@exercise("4.5", hint="The first hour that has a week before it is hour 168. Slices of one tensor, shifted.")
def with_the_past(answer):
    for hours in (200, 169, 400):
        counts = torch.arange(hours).float() * 3
        got = answer(counts)
        expect(isinstance(got, tuple) and len(got) == 2, "Return a tuple (inputs, targets).")
        inputs, targets = got
        want = (hours - 168, 2)
        expect(tuple(inputs.shape) == want, f"{hours} hours give inputs {want}, not {tuple(inputs.shape)}.")
        expect(tuple(targets.shape) == want[:1], f"{hours} hours give {want[0]} targets.")
        expect(torch.equal(targets, counts[168:]), "Targets are the counts from hour 168 on.")
        expect(torch.equal(inputs[:, 0], targets - 3), "Column 0 is the count of the hour before the target.")
        expect(
            torch.equal(inputs[:, 1], targets - 3 * 168), "Column 1 is the count of the same hour a week ago."
        )


@exercise(
    "4.6", hint="Count pairs with zip(tokens, tokens[1:]); then walk through, taking two where they match."
)
def merge_pair(answer):
    cases = {
        "the cat sat": ["t", "h", "e", " ", "c", "at", " ", "s", "at"],
        "aaaa": ["aa", "aa"],
        "aaa": ["aa", "a"],
        "abcbcab": ["ab", "c", "b", "c", "ab"],
        "banana": ["b", "an", "an", "a"],
    }
    for text, want in cases.items():
        tokens = list(text)
        got = answer(tokens)
        expect(isinstance(got, list), "Return a list of tokens.")
        expect("".join(got) == text, f"The text has changed: {got} for {text!r}.")
        expect(tokens == list(text), "Leave the list that came in as it is.")
        expect(got == want, f"{list(text)} does not become {got}.")
    expect(answer(["x"]) == ["x"], "A single token stays as it is.")
    expect(answer(["low", "er", "low", "er"]) == ["lower", "lower"], "Tokens may be longer than a letter.")


@exercise("4.7", hint="Where do the hours lie on a clock, and what are the coordinates there?")
def encode_hour(answer):
    got = answer(torch.arange(24))
    expect(isinstance(got, torch.Tensor), "Return a tensor.")
    expect(got.dim() == 2 and len(got) == 24, f"24 hours give (24, K), not {tuple(got.shape)}.")
    expect(got.shape[1] <= 4, f"{got.shape[1]} numbers an hour are too many; at most 4.")
    expect(got.is_floating_point(), f"Networks want floats, not {got.dtype}.")
    expect(got.abs().max() <= 1.001, "Keep every number between -1 and 1.")
    apart = torch.cdist(got, got)
    steps = torch.stack([apart[h, (h + 1) % 24] for h in range(24)])
    expect(steps.max() < 1.5 * steps.min(), "One hour apart should look alike, whether 11 to 12 or 23 to 0.")
    for hour in range(24):
        half_day = apart[hour, (hour + 12) % 24]
        expect(
            half_day > 3 * steps.max(), f"Hours {hour} and {(hour + 12) % 24} are too close to each other."
        )
    shuffled = torch.tensor([7, 0, 23])
    expect(torch.allclose(answer(shuffled), got[shuffled]), "An hour's code must not depend on the others.")
