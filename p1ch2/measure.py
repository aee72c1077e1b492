"""How good the networks are, on drawings that none of them was trained on.

Each function draws its own fresh pictures from a seed, so a figure can be had again by anyone.
"""

import numpy as np
import torch

from p1ch2.captioner import prepare_scenes
from p1ch2.classifier import prepare
from p1ch2.drawing import CLASSES, DAYLIGHT, FOUR_LEGGED, SPECIES, draw_animal, draw_scene, rng_for
from p1ch2.gan import to_pictures, to_signed

FRESH = 1000  # the first seed of drawings for measuring; trainings use seeds below


def draw_any(seed, number):
    """Drawing `number` of series `seed` for the classifier: all thirteen classes equally often."""
    rng = rng_for(seed, number)
    label = CLASSES[number % len(CLASSES)]
    if label == "zebra":
        return draw_animal(rng, "horse", striped=True)
    # A striped horse would be a zebra; other animals may wear stripes and keep their name.
    striped = label != "horse" and rng.random() < 0.25
    return draw_animal(rng, label, striped=striped)


def draw_four_legged(seed, number, striped):
    """A four-legged animal by daylight, plain or striped: what the generator translates."""
    rng = rng_for(seed, number)
    species, place = str(rng.choice(FOUR_LEGGED)), str(rng.choice(DAYLIGHT))
    return draw_animal(rng, species, striped=striped, place=place)


def draw_for_judge(seed, number):
    """Any animal in any place, striped every second time: what the judge of stripes learns from."""
    rng = rng_for(seed, number)
    return draw_animal(rng, str(rng.choice(SPECIES)), striped=bool(number % 2))


def stack(drawings):
    """Pictures of drawings or scenes as one uint8 tensor (N, H, W, 3)."""
    return torch.from_numpy(np.stack([drawing.image for drawing in drawings]))


@torch.inference_mode()
def in_batches(model, inputs, size=50):
    """model(inputs) in evaluation mode without gradients, a batch at a time."""
    model.eval()
    device = next(model.parameters()).device
    return torch.cat([model(part.to(device)).cpu() for part in inputs.split(size)])


def classifier_answers(model, number=1300, seed=FRESH):
    """(true class numbers, predicted ones), both (number,), on fresh drawings."""
    drawings = [draw_any(seed, i) for i in range(number)]
    true = torch.tensor([CLASSES.index(drawing.label) for drawing in drawings])
    return true, in_batches(model, prepare(stack(drawings))).argmax(1)


def judge_accuracy(model, number=1000, seed=FRESH + 1):
    """How often the judge tells striped from plain, on fresh drawings of any animal."""
    drawings = [draw_for_judge(seed, i) for i in range(number)]
    true = torch.tensor([drawing.striped for drawing in drawings])
    said = in_batches(model, prepare(stack(drawings))).argmax(1).bool()
    return (said == true).float().mean().item()


def silhouettes(pictures, backgrounds, threshold=32):
    """Where a picture differs from its known background: (N, H, W) bool from uint8 (N, H, W, 3)."""
    difference = (pictures.int() - backgrounds.int()).abs().amax(3)
    return difference > threshold


def overlap(a, b):
    """Intersection over union of two stacks of masks (N, H, W), per picture: (N,)."""
    return (a & b).sum((1, 2)) / (a | b).sum((1, 2)).clamp(min=1)


def generator_report(generator, judge, number=500, seed=FRESH + 2, to_striped=True):
    """What a generator does to fresh animals, as a dictionary.

    before, after: share that the judge calls striped. outline: mean overlap (IoU) of the silhouettes before
    and after. moved_background: mean change of background pixels, in grey levels of 255.
    """
    drawings = [draw_four_legged(seed, i, striped=not to_striped) for i in range(number)]
    before = stack(drawings)
    after = to_pictures(in_batches(generator, to_signed(before)))
    background = torch.from_numpy(np.stack([drawing.background for drawing in drawings]))
    inside = torch.from_numpy(np.stack([drawing.mask for drawing in drawings])) > 0.02
    change = (after.float() - before.float()).abs().mean(3)

    def striped(pictures):
        return in_batches(judge, prepare(pictures)).argmax(1).float().mean().item()

    outline = overlap(silhouettes(before, background), silhouettes(after, background))
    return {
        "before": striped(before),
        "after": striped(after),
        "outline": outline.mean().item(),
        "moved_background": change[~inside].mean().item(),
    }


def captions_right(captioner, number=1000, seed=FRESH + 3):
    """(share of sentences that are right to the last word, list of (true, told) of the others)."""
    scenes = [draw_scene(rng_for(seed, i)) for i in range(number)]
    captioner.eval()
    device = next(captioner.parameters()).device
    told = []
    for part in prepare_scenes(stack(scenes)).split(250):
        told += captioner.describe(part.to(device))[0]
    wrong = [(s.sentence, t) for s, t in zip(scenes, told, strict=True) if s.sentence != t]
    return 1 - len(wrong) / number, wrong
