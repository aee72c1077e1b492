"""Checks of chapter 11's exercises. The exercises themselves stand in the notebook."""

import numpy as np
import torch

from p2ch11.model import LunaBlock, LunaModel
from util.exercises import exercise, expect


@exercise("11.1", hint="Every nodule is a mistake, everything else is right.")
def check_always_no(always_no):
    got = always_no(1, 399)
    expect(got != 0.9975, "That is the share; the answer is wanted in percent.")
    expect(abs(got - 99.75) < 1e-9, "With 1 nodule among 400 candidates, 399 answers are right.")
    nodules, others = (int(n) for n in np.random.default_rng().integers(1, 1000, 2))
    want = 100 * others / (nodules + others)
    expect(abs(always_no(nodules, others) - want) < 1e-9, f"Wrong for {nodules} nodules and {others} others.")


@exercise(
    "11.2", hint="One weight per input channel, output channel and place in the kernel; one bias per output."
)
def check_parameters(parameters_of_block):
    for channels in ((1, 8), (8, 16), tuple(int(n) for n in np.random.default_rng().integers(1, 40, 2))):
        want = sum(p.numel() for p in LunaBlock(*channels).parameters())
        got = parameters_of_block(*channels)
        expect(got != want - 2 * channels[1], "The weights are right, but the biases are missing.")
        expect(got == want, f"LunaBlock{channels} has another number of parameters.")


@exercise("11.3", hint="How often is each edge halved? And what happens to an odd edge?")
def check_features(features_of_crop):
    expect(features_of_crop((32, 48, 48)) == 1152, "For the chapter's crop it should be the head's 1152.")
    for size in ((16, 16, 16), (40, 72, 48), (35, 50, 49)):
        model = LunaModel()
        with torch.no_grad():
            out = torch.zeros(1, 1, *size)
            for block in (model.block1, model.block2, model.block3, model.block4):
                out = block(out)
        expect(features_of_crop(size) == out.numel(), f"Wrong for a crop of {size}.")


@exercise("11.4", hint="Take the logarithm of the softmax, and of each row the entry of the right class.")
def check_cross_entropy(cross_entropy):
    logits = torch.randn(6, 2) * 3
    target = torch.tensor([0, 1, 1, 0, 1, 0])
    want = torch.nn.functional.cross_entropy(logits, target, reduction="none")
    got = torch.as_tensor(cross_entropy(logits.clone(), target.clone()))
    expect(got.shape == (6,), "One loss per sample is wanted: the shape should be (N,).")
    expect(not torch.allclose(got, -want, atol=1e-4), "The sign is off: a loss is positive.")
    expect(torch.allclose(got, want, atol=1e-4), "The values differ from PyTorch's.")
    large = torch.tensor([[1000.0, 0.0]])
    got = torch.as_tensor(cross_entropy(large, torch.tensor([1])))
    expect(
        bool(torch.isfinite(got).all()), "Logits of 1000 overflow: subtract each row's maximum before exp."
    )


@exercise("11.5", hint="The last batch is smaller; weigh each mean by the samples behind it.")
def check_epoch_mean(epoch_mean):
    expect(
        abs(epoch_mean([1.0, 1.0, 4.0], [32, 32, 1]) - 68 / 65) < 1e-9, "A small last batch counts too much."
    )
    rng = np.random.default_rng()
    losses = [rng.random(n) for n in (32, 32, 5)]
    got = epoch_mean([float(part.mean()) for part in losses], [len(part) for part in losses])
    expect(abs(got - np.concatenate(losses).mean()) < 1e-9, "It is not the mean over all samples.")


@exercise("11.6", hint="Each of the draws misses with probability 1 - share, independently of the others.")
def check_no_nodule(chance_of_no_nodule):
    expect(abs(chance_of_no_nodule(0.5, 1) - 0.5) < 1e-9, "One draw at one half: it misses half of the time.")
    expect(abs(chance_of_no_nodule(0.5, 2) - 0.25) < 1e-9, "Two misses in a row: one half of one half.")
    share, size = float(np.random.default_rng().uniform(0.001, 0.02)), 32
    expect(
        abs(chance_of_no_nodule(share, size) - (1 - share) ** size) < 1e-9,
        f"Wrong for a share of {share:.4f}.",
    )
