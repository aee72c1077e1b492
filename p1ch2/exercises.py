"""Checks of chapter 2's exercises."""

import numpy as np
import torch
from PIL import Image
from torch import nn

from p1ch2.classifier import preprocess
from p1ch2.gan import ResNetGenerator
from util.exercises import exercise, expect


@exercise("2.1", hint="softmax makes scores sum to 1, topk finds the largest; along which dimension?")
def top_names(answer):
    names = ["ant", "bee", "cow", "dog", "eel"]
    for k in (1, 3, 5):
        scores = torch.randn(1, 5) * 3
        got = answer(scores, names, k)
        expect(isinstance(got, list), "Return a list of (name, percent) pairs.")
        expect(len(got) == k, f"For k={k} there should be {k} pairs, not {len(got)}.")
        expect(all(len(pair) == 2 for pair in got), "Each entry is a pair: name, percent.")
        order = scores[0].argsort(descending=True)
        want = [names[i] for i in order[:k]]
        expect([pair[0] for pair in got] == want, "Not the best names, or not the best first.")
        percent = scores[0].softmax(0)[order[:k]] * 100
        close = np.allclose([float(pair[1]) for pair in got], percent.numpy(), atol=0.01)
        expect(close, "The names are right, the percentages are not: all five should sum to 100.")


@exercise("2.2", hint="Crop before or after resizing, but keep the proportions; then (x / 255 - 0.5) / 0.25.")
def to_batch(answer):
    random = np.random.default_rng()
    for height, width in ((64, 64), (64, 96), (120, 64)):
        image = Image.fromarray(random.integers(0, 256, (height, width, 3), np.uint8))
        got = answer(image)
        expect(isinstance(got, torch.Tensor), "Return a tensor.")
        expect(got.shape == (1, 3, 64, 64), f"The shape should be (1, 3, 64, 64), not {tuple(got.shape)}.")
        expect(got.is_floating_point(), "Networks want floating-point numbers.")
        right = preprocess()(image)[None]
        far = (got - right).abs().max()
        expect(far <= 0.02, f"A picture {height} high and {width} wide: values differ by up to {far:.2f}.")


@exercise("2.3", hint="str.removeprefix takes a word away only where a string starts with it.")
def unwrap(answer):
    wrapped = nn.DataParallel(nn.Sequential(ResNetGenerator(ngf=2, n_blocks=1)))
    model = wrapped.module
    state = wrapped.state_dict()
    before = list(state)
    got = answer(state)
    expect(isinstance(got, dict), "Return a dictionary of names and tensors.")
    expect(list(state) == before, "The checkpoint you were given has changed; make a new dictionary.")
    expect(
        set(got) == set(model.state_dict()), f"A name like '{next(iter(got), None)}' does not fit the model."
    )
    expect(all(torch.equal(got[k], v) for k, v in model.state_dict().items()), "Names fit, values do not.")
    # A layer of the reader's may be called module, too; and a plain checkpoint should pass unharmed.
    for name, want in (("module.head.module.bias", "head.module.bias"), ("submodule.x", "submodule.x")):
        got = answer({name: torch.ones(1)})
        expect(list(got) == [want], f"'{name}' should become '{want}', not '{next(iter(got), None)}'.")


@exercise("2.4", hint="There and back again, from both ends: compare each picture with its own return.")
def cycle_loss(answer):
    def double(x):
        return 2 * x

    def shift(x):
        return x / 2 + 0.25

    for _ in range(3):
        a, b = torch.rand(2, 3, 8, 8), torch.rand(4, 3, 8, 8)
        got = answer(double, shift, a, b)
        # a -> 2a -> a + 0.25; b -> b/2 + 0.25 -> b + 0.5.
        expect(torch.is_tensor(got) and got.dim() == 0, "Return one number as a tensor.")
        expect(
            abs(float(got) - 0.75) < 1e-4, f"For these two functions it should be 0.75, not {float(got):.3f}."
        )
    zero = answer(lambda x: -x, lambda x: -x, a, b)
    expect(abs(float(zero)) < 1e-6, "Two functions that undo each other have no cycle loss.")


@exercise("2.5", hint="log(sigmoid(x)) has a name of its own, and so has the loss that takes raw scores.")
def detective_loss(answer):
    for _ in range(3):
        real, forged = torch.randn(6, 1) * 3, torch.randn(8, 1) * 3
        got = answer(real, forged)
        expect(torch.is_tensor(got) and got.dim() == 0, "Return one number as a tensor.")
        right = -(torch.sigmoid(real).log().mean() + torch.sigmoid(-forged).log().mean()) / 2
        expect(
            torch.allclose(got, right, atol=1e-4), f"Expected {right:.4f} for random scores, got {got:.4f}."
        )
    sure = torch.full((3, 1), 300.0)
    expect(torch.allclose(answer(sure, -sure), torch.zeros(()), atol=1e-6), "Sure and right should cost 0.")
    wrong = answer(-sure, sure)
    expect(bool(torch.isfinite(wrong)), f"Scores of 300, sure and wrong, give {float(wrong)}; expected 300.")
    expect(abs(float(wrong) - 300) < 0.1, f"Sure and wrong by 300 should cost 300, not {float(wrong):.1f}.")


class _LooksAtOnePlace(nn.Module):
    """Scores for two classes; the second depends on one square of 8 pixels alone."""

    def __init__(self, row, column):
        super().__init__()
        self.rows, self.columns = slice(8 * row, 8 * row + 8), slice(8 * column, 8 * column + 8)

    def forward(self, x):
        seen = x[:, :, self.rows, self.columns].mean((1, 2, 3))
        return torch.stack([torch.zeros_like(seen), 2 * seen], 1)


@exercise("2.6", hint="Work on a clone, put the square back before the next, and compare probabilities.")
def occlusion_map(answer):
    for row, column in ((1, 2), (6, 0)):
        model = _LooksAtOnePlace(row, column)
        picture = torch.rand(1, 3, 64, 64) + 0.5
        before = picture.clone()
        got = answer(model, picture, 1)
        expect(torch.equal(picture, before), "Your function changed the picture it was given.")
        expect(isinstance(got, torch.Tensor), "Return a tensor.")
        expect(got.shape == (8, 8), f"Sixty-four squares make a map of shape (8, 8), not {tuple(got.shape)}.")
        place = tuple(divmod(int(got.argmax()), 8))
        expect(
            place == (row, column), f"The network looks at square {(row, column)}; your map peaks at {place}."
        )
        expect(int((got.abs() > 1e-5).sum()) == 1, "Squares that the network does not look at should get 0.")
        drop = model(picture).softmax(1)[0, 1] - 0.5
        expect(
            abs(float(got[row, column] - drop)) < 1e-4, "The map should hold how far the probability falls."
        )
