"""Train the shipped networks of chapter 2 on drawings: `python -m p1ch2.train all`.

Each takes a few minutes of one CPU core. Weights go to `data/p1ch2` (or `--out`), the figures on fresh
drawings to `figures.json` beside them. Same seed, same machine, same weights; other machines round
differently and end close by.
"""

import argparse
import json
import math
import time
from pathlib import Path

import torch
import torch.nn.functional as F

from p1ch2 import measure, pretrained
from p1ch2.captioner import NUMBER, PAD, WORDS, Captioner, encode_sentence, prepare_scenes
from p1ch2.classifier import AnimalNet, prepare
from p1ch2.drawing import CLASSES, draw_scene, rng_for
from p1ch2.gan import CycleGan, to_signed
from util.errors import main_guard
from util.files import atomic_path
from util.runtime import get_device, has_fast_bfloat16, seed_everything


def batches(number, size, generator):
    """Random batches of indices below `number`, a new order each time; the incomplete last is left out."""
    order = torch.randperm(number, generator=generator)
    return order[: number - number % size].split(size)


def fit(model, inputs, loss_of, epochs, batch_size, rate, seed, device):
    """AdamW with one rise and fall of the learning rate. loss_of(model, inputs[indices], indices) -> loss."""
    generator = torch.Generator().manual_seed(seed)
    model.to(device, memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.01)
    steps = epochs * (len(inputs) // batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps, pct_start=0.2)
    for epoch in range(epochs):
        total = count = 0
        for indices in batches(len(inputs), batch_size, generator):
            with torch.autocast(device.type, torch.bfloat16, enabled=has_fast_bfloat16(device)):
                loss = loss_of(model, inputs[indices].to(device), indices)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            total, count = total + loss.item(), count + 1
        print(f"epoch {epoch + 1:3} of {epochs}: training loss {total / count:.4f}", flush=True)
    return model.eval()


def random_flip(pictures):
    """Mirror about half of the pictures (N, C, H, W) left to right."""
    mirror = torch.rand(len(pictures), 1, 1, 1, device=pictures.device) < 0.5
    return torch.where(mirror, pictures.flip(3), pictures)


def _train_names(model, drawings, answers, options, device):
    inputs = measure.stack(drawings)

    def loss_of(model, pictures, indices):
        scores = model(random_flip(prepare(pictures)))
        return F.cross_entropy(scores, answers[indices].to(device), label_smoothing=0.05)

    epochs = options.epochs or 12
    return fit(model, inputs, loss_of, epochs, 64, 4e-3, options.seed, device)


def train_classifier(options, device):
    """The classifier of thirteen names; returns its figures."""
    drawings = [measure.draw_any(1 + options.seed, i) for i in range(options.number or 10_400)]
    answers = torch.tensor([CLASSES.index(drawing.label) for drawing in drawings])
    model = _train_names(AnimalNet(len(CLASSES)), drawings, answers, options, device)
    pretrained.save(model, "classifier", options.out, classes=list(CLASSES))
    true, said = measure.classifier_answers(model)
    return {"accuracy": (true == said).float().mean().item(), "drawings": len(true)}


def train_judge(options, device):
    """The judge of stripes, which measures the generator and takes no part in its training."""
    drawings = [measure.draw_for_judge(101 + options.seed, i) for i in range(options.number or 4000)]
    answers = torch.tensor([int(drawing.striped) for drawing in drawings])
    model = _train_names(AnimalNet(2, (16, 32, 64)), drawings, answers, options, device)
    pretrained.save(model, "judge", options.out, classes=["plain", "striped"])
    return {"accuracy": measure.judge_accuracy(model), "drawings": 1000}


def train_generator(options, device):
    """CycleGAN on two piles of drawings, plain and striped, of different animals; returns its figures."""
    number, size = options.number or 3000, 4
    steps = options.epochs * (number // size) if options.epochs else 4500
    plain = to_signed(
        measure.stack([measure.draw_four_legged(201 + options.seed, i, False) for i in range(number)])
    )
    striped = to_signed(
        measure.stack([measure.draw_four_legged(301 + options.seed, i, True) for i in range(number)])
    )
    model = CycleGan(seed=options.seed).to(device, memory_format=torch.channels_last)
    optimizers = model.optimizers()
    # Full speed for the first half, then down to nothing.
    schedules = [
        torch.optim.lr_scheduler.LambdaLR(o, lambda step: min(1.0, 2 * (1 - step / steps)))
        for o in optimizers
    ]
    generator = torch.Generator().manual_seed(options.seed)
    shown = {}
    for step in range(steps):
        a = plain[torch.randint(number, (size,), generator=generator)].to(device)
        b = striped[torch.randint(number, (size,), generator=generator)].to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=has_fast_bfloat16(device)):
            losses = model.step(random_flip(a), random_flip(b), optimizers)
        for schedule in schedules:
            schedule.step()
        shown = {key: 0.98 * shown.get(key, value) + 0.02 * value for key, value in losses.items()}
        if (step + 1) % 250 == 0:
            said = "  ".join(f"{key} {value:.3f}" for key, value in shown.items())
            print(f"step {step + 1:5} of {steps}: {said}", flush=True)
        if (step + 1) % 500 == 0:  # a training that is stopped leaves its last state
            for to in ("striped", "plain"):
                pretrained.save(model.average[to], f"generator_{to}", options.out)
    for to in ("striped", "plain"):
        pretrained.save(model.average[to], f"generator_{to}", options.out)
    try:
        judge = pretrained.load_into(AnimalNet(2, (16, 32, 64)), "judge", options.out)
    except Exception as error:
        print(f"not measured: {error}")
        return {}
    return {
        f"to_{to}": measure.generator_report(model.average[to], judge, to_striped=to == "striped")
        for to in ("striped", "plain")
    }


def train_captioner(options, device):
    """The captioner of scenes; returns its figures."""
    scenes = [draw_scene(rng_for(401 + options.seed, i)) for i in range(options.number or 20_000)]
    sentences = torch.stack([encode_sentence(scene.sentence) for scene in scenes])

    def loss_of(model, pictures, indices):
        told = sentences[indices].to(device)
        scores = model(prepare_scenes(pictures), told)  # (N, LONGEST, words)
        return F.cross_entropy(scores.flatten(0, 1), told[:, 1:].flatten(), ignore_index=NUMBER[PAD])

    epochs = options.epochs or 10
    model = fit(Captioner(), measure.stack(scenes), loss_of, epochs, 64, 3e-3, options.seed, device)
    pretrained.save(model, "captioner", options.out, words=list(WORDS))
    right, wrong = measure.captions_right(model)
    for true, said in wrong[:10]:
        print(f"  true: {true}\n  told: {said}")
    return {"exactly_right": right, "scenes": 1000}


TRAININGS = {
    "classifier": train_classifier,
    "judge": train_judge,
    "generator": train_generator,
    "captioner": train_captioner,
}


def write_figures(folder, name, figures):
    """Put one network's figures into `figures.json`, leaving the others' as they are."""
    path = Path(folder) / "figures.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    known[name] = figures
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(known, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m p1ch2.train", description=__doc__.splitlines()[0])
    parser.add_argument("network", choices=[*TRAININGS, "all"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, help="rounds over the drawings (default: the shipped weights')")
    parser.add_argument("--number", type=int, help="drawings to train on (default: the shipped weights')")
    parser.add_argument("--out", type=Path, default=pretrained.WEIGHTS, help="folder for weights and figures")
    options = parser.parse_args(arguments)
    device = get_device()
    for name in TRAININGS if options.network == "all" else [options.network]:
        start = time.process_time()
        seed_everything(options.seed)
        figures = TRAININGS[name](options, device)
        minutes = (time.process_time() - start) / 60
        figures.update(
            cpu_minutes=math.ceil(minutes), torch=torch.__version__.split("+")[0], seed=options.seed
        )
        print(f"{name}: {figures}", flush=True)
        write_figures(options.out, name, figures)


if __name__ == "__main__":
    main_guard(main)
