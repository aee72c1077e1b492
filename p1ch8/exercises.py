"""Chapter 8's exercises: each with its text, stub, hints, check, solution and wrong answers."""

import copy
import itertools

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from util.exercises import (
    BUG,
    BUILD,
    EXPERIMENT,
    PREDICT,
    Exercise,
    Picture,
    as_tensor,
    case,
    expect,
    predicted,
    same,
)

# ---------------------------------------------------------------- 8.1

layers = Exercise(
    "8.1",
    title="What comes out, and what it costs",
    difficulty=1,
    minutes=10,
    kind=PREDICT,
    text="""
    `x = torch.zeros(1, 3, 32, 20)` is a batch of one colour image, 32 high and 20 wide. What does each line
    give? Shapes as tuples, and numbers.
    """,
    stub="""
    gives = {
        "nn.Conv2d(3, 16, kernel_size=3)(x).shape": ...,
        "nn.Conv2d(3, 16, kernel_size=3, padding=1)(x).shape": ...,
        "nn.Conv2d(3, 16, kernel_size=3, padding=1, stride=2)(x).shape": ...,
        "nn.MaxPool2d(3)(x).shape": ...,
        "nn.Flatten()(nn.Conv2d(3, 4, kernel_size=1)(x)).shape": ...,
        "nn.Conv2d(3, 16, kernel_size=3).weight.shape": ...,
        "sum(p.numel() for p in nn.Conv2d(3, 16, kernel_size=3).parameters())": ...,
        "sum(p.numel() for p in nn.BatchNorm2d(16).parameters())": ...,
        "sum(p.numel() for p in nn.MaxPool2d(3).parameters())": ...,
        "nn.Dropout(0.9).eval()(torch.ones(5)).sum()": ...,
    }
    """,
    hints=(
        "Padding adds on both sides; without it a 3 × 3 kernel has no place at the border.",
        "Size after: (size + 2 · padding - kernel) // stride + 1. Pooling has its own kernel size as stride.",
        "A kernel reaches over all input channels: weights are outputs × inputs × 3 × 3. Batch norm "
        "learns a factor and an offset per channel. In eval mode, dropout does nothing.",
    ),
    why="""
    Height and width shrink, channels grow; parameters depend on channels and kernel only, never on the size
    of the image. 16 · 3 · 9 + 16 = 448, for an image of any size.
    """,
)


@layers.check
def check_layers(prediction):
    names = {"torch": torch, "nn": nn, "x": torch.zeros(1, 3, 32, 20)}
    predicted(prediction, {key: eval(key, names) for key in layers.stub_keys})


layers.solution("""
gives = {
    "nn.Conv2d(3, 16, kernel_size=3)(x).shape": (1, 16, 30, 18),
    "nn.Conv2d(3, 16, kernel_size=3, padding=1)(x).shape": (1, 16, 32, 20),
    "nn.Conv2d(3, 16, kernel_size=3, padding=1, stride=2)(x).shape": (1, 16, 16, 10),
    "nn.MaxPool2d(3)(x).shape": (1, 3, 10, 6),
    "nn.Flatten()(nn.Conv2d(3, 4, kernel_size=1)(x)).shape": (1, 2560),
    "nn.Conv2d(3, 16, kernel_size=3).weight.shape": (16, 3, 3, 3),
    "sum(p.numel() for p in nn.Conv2d(3, 16, kernel_size=3).parameters())": 448,
    "sum(p.numel() for p in nn.BatchNorm2d(16).parameters())": 32,
    "sum(p.numel() for p in nn.MaxPool2d(3).parameters())": 0,
    "nn.Dropout(0.9).eval()(torch.ones(5)).sum()": 5,
}
""")
_LAYERS = dict(
    zip(
        layers.stub_keys,
        (
            (1, 16, 30, 18),
            (1, 16, 32, 20),
            (1, 16, 16, 10),
            (1, 3, 10, 6),
            (1, 2560),
            (16, 3, 3, 3),
            448,
            32,
            0,
            5,
        ),
    )
)
layers.right({key: list(v) if isinstance(v, tuple) else torch.tensor(v) for key, v in _LAYERS.items()})
layers.right({key: torch.Size(v) if isinstance(v, tuple) else float(v) for key, v in _LAYERS.items()})
layers.wrong({**_LAYERS, layers.stub_keys[2]: (1, 16, 15, 9)})
layers.wrong({**_LAYERS, layers.stub_keys[3]: (1, 3, 30, 18)})
layers.wrong({**_LAYERS, layers.stub_keys[5]: (3, 16, 3, 3)})
layers.wrong({**_LAYERS, layers.stub_keys[6]: 432})
layers.wrong({**_LAYERS, layers.stub_keys[7]: 64})
layers.wrong({**_LAYERS, layers.stub_keys[9]: 0.5})

# ---------------------------------------------------------------- 8.2

same_block = Exercise(
    "8.2",
    title="Ten blocks that are one",
    difficulty=1,
    minutes=15,
    kind=BUG,
    text="""
    `Deep(n_chans, n_blocks)` should be a chain of residual blocks: each adds ReLU(conv(x)) to what it gets,
    and each has weights of its own, drawn at random. It runs and it learns; but a network of ten blocks has no
    more parameters than a network of one. Find out why, and mend it. (The book's own first printing has this
    mistake.)
    """,
    stub="""
    class Deep(nn.Module):
        def __init__(self, n_chans, n_blocks):
            super().__init__()
            block = nn.Sequential(nn.Conv2d(n_chans, n_chans, kernel_size=3, padding=1), nn.ReLU())
            self.blocks = nn.Sequential(*(n_blocks * [block]))

        def forward(self, x):
            for block in self.blocks:
                x = x + block(x)
            return x
    """,
    hints=(
        "Count: `sum(p.numel() for p in Deep(4, 10).parameters())`. And what is "
        "`model.blocks[0] is model.blocks[1]`?",
        "`10 * [block]` is a list that names one object ten times.",
        "Make the block inside a loop or comprehension, so that it is made anew each time.",
    ),
    why="""
    Multiplying a list repeats references. All ten blocks are one module: ten layers with the same weights, whose
    gradients add up. Such sharing is a legitimate design (recurrent networks live on it), but here nobody
    asked for it. A copy by `copy.deepcopy` is not enough either: its weights are apart, but start alike.
    """,
)


def _convolutions(model):
    return [module for module in model.modules() if isinstance(module, nn.Conv2d)]


@same_block.check
def check_same_block(answer):
    for channels, count in ((1, 1), (2, 1), (1, 2), (2, 3), (3, 3)):
        with case(f"n_chans = {channels}, n_blocks = {count}"):
            model = answer(channels, count)
            expect(isinstance(model, nn.Module), "it should be an nn.Module.")
            got, wanted = sum(p.numel() for p in model.parameters()), count * (9 * channels**2 + channels)
            expect(got == wanted, f"parameters() finds {got} numbers; {count} blocks have {wanted}.")
            convs = _convolutions(model)
            expect(len(convs) == count, f"it has {len(convs)} convolutions.")
            alike = any(torch.equal(a.weight, b.weight) for a, b in itertools.combinations(convs, 2))
            expect(not alike, "two blocks start with the same weights.")
            x = torch.randint(-3, 4, (2, channels, 5, 4)).float()
            with torch.no_grad():
                got = model(x)
                options = []
                for order in itertools.permutations(convs):  # blocks may be declared in any order
                    out = x
                    for conv in order:
                        out = out + F.conv2d(out, conv.weight, conv.bias, padding=1).relu()
                    options.append(out)
            right = any(o.shape == got.shape and torch.allclose(o, got, atol=1e-4) for o in options)
            same(got, got if right else options[0], "what it answers with its weights")


class Deep(nn.Module):
    def __init__(self, n_chans, n_blocks):
        super().__init__()
        self.blocks = nn.Sequential(
            *(
                nn.Sequential(nn.Conv2d(n_chans, n_chans, kernel_size=3, padding=1), nn.ReLU())
                for _ in range(n_blocks)
            )
        )

    def forward(self, x):
        for block in self.blocks:
            x = x + block(x)
        return x


same_block.solution(Deep)


@same_block.right
class InAModuleList(nn.Module):
    def __init__(self, n_chans, n_blocks):
        super().__init__()
        self.convs = nn.ModuleList()
        for _ in range(n_blocks):
            self.convs.append(nn.Conv2d(n_chans, n_chans, 3, padding="same"))

    def forward(self, x):
        for conv in self.convs:
            x = conv(x).clamp(min=0) + x
        return x


@same_block.right
class LastBlockFirst(Deep):
    def forward(self, x):
        for block in reversed(self.blocks):
            x = x + block(x)
        return x


@same_block.wrong
class StillOneBlock(Deep):
    def __init__(self, n_chans, n_blocks):
        super().__init__(n_chans, 1)
        self.blocks.extend([self.blocks[0]] * (n_blocks - 1))


@same_block.wrong
class CopiesOfOneBlock(Deep):
    def __init__(self, n_chans, n_blocks):
        super().__init__(n_chans, 1)
        self.blocks.extend([copy.deepcopy(self.blocks[0]) for _ in range(n_blocks - 1)])


@same_block.wrong
class HiddenInAList(nn.Module):
    def __init__(self, n_chans, n_blocks):
        super().__init__()
        self.convs = [nn.Conv2d(n_chans, n_chans, 3, padding=1) for _ in range(n_blocks)]

    def forward(self, x):
        for conv in self.convs:
            x = x + conv(x).relu()
        return x


@same_block.wrong
class WithoutTheSum(Deep):
    def forward(self, x):
        return self.blocks(x)


@same_block.wrong
class OneBlockTooMany(Deep):
    def __init__(self, n_chans, n_blocks):
        super().__init__(n_chans, n_blocks + 1)


@same_block.wrong
class UsesTheFirstOnly(Deep):
    def forward(self, x):
        for _ in self.blocks:
            x = x + self.blocks[0](x)
        return x


# ---------------------------------------------------------------- 8.3

kernel = Exercise(
    "8.3",
    title="Which kernel was it?",
    difficulty=2,
    minutes=25,
    kind=EXPERIMENT,
    seconds=3,
    text="""
    Somebody filtered images with a 3 × 3 kernel and does not tell which: `filtered` is `F.conv2d(images,
    kernel)` for a kernel of theirs, without padding and bias. Find it from the images, before and after.
    Training a convolution will do, and it is not the only way. The check has several kernels, and wants
    every weight to within 0.02.
    """,
    stub='''
    def find_kernel(images, filtered):
        """images: (N, 1, H, W), filtered: (N, 1, H - 2, W - 2). Returns the kernel, (3, 3)."""
        raise NotImplementedError("your turn")
    ''',
    hints=(
        "Which layer computes just this? What is its loss, and what does it learn?",
        "Train `nn.Conv2d(1, 1, 3, bias=False)` to turn the one into the other, with the mean squared "
        "error. Watch the loss until it is next to zero.",
        "Adam at a rate of 0.05 gets there in about 300 steps on all images at once. Or: each output is "
        "linear in nine unknowns, so `F.unfold` and `torch.linalg.lstsq` find them at once.",
    ),
    why="""
    A convolution's weights are learned like any others: nobody tells a network which edges to look for, the
    loss does. Here the answer exists and is unique, so training finds it exactly; with tasks such as birds
    against airplanes, many kernels are equally good.
    """,
)

_KERNELS = (
    torch.zeros(3, 3),
    torch.tensor([[0.0, 0, 0], [0, 1, 0], [0, 0, 0]]),
    torch.tensor([[-1.0, 0, 1]] * 3),
    torch.tensor([[-1.0, -1, -1], [0, 0, 0], [1, 1, 1]]),
    torch.tensor([[1.0, 2, 3], [0, 0, 0], [0, 0, 0]]),
)


@kernel.check
def check_kernel(answer):
    for number, wanted in enumerate((*_KERNELS, torch.randn(3, 3))):
        images = torch.rand(4, 1, 12, 12)
        filtered = F.conv2d(images, wanted[None, None])
        with case(f"kernel {number + 1} of the check"):
            got = as_tensor(answer(images.clone(), filtered.clone())).squeeze()
            expect(got.shape == (3, 3), f"a 3 × 3 kernel is wanted, not one of shape {tuple(got.shape)}.")
            off = (got - wanted).abs().max().item()
            mine = F.conv2d(images, got.float()[None, None])
            picture = Picture(
                images[0, 0],
                filtered[0, 0],
                mine[0, 0],
                titles=("an image", "filtered by their kernel", "filtered by yours"),
            )
            expect(off < 0.02, f"a weight of your kernel is off by {off:.2g}.", picture)


@kernel.solution
def find_kernel(images, filtered):
    conv = nn.Conv2d(1, 1, kernel_size=3, bias=False)
    optimizer = torch.optim.Adam(conv.parameters(), lr=0.05)
    for _ in range(600):
        optimizer.zero_grad()
        ((conv(images) - filtered) ** 2).mean().backward()
        optimizer.step()
    return conv.weight.detach()[0, 0]


@kernel.right
def by_least_squares(images, filtered):
    windows = F.unfold(images, 3).transpose(1, 2).reshape(-1, 9)
    return torch.linalg.lstsq(windows, filtered.reshape(-1, 1)).solution.reshape(3, 3)


@kernel.right
def by_least_squares_in_numpy(images, filtered):
    windows = np.lib.stride_tricks.sliding_window_view(images[:, 0].numpy(), (3, 3), axis=(1, 2))
    return (
        np.linalg.lstsq(windows.reshape(-1, 9), filtered.numpy().ravel(), rcond=None)[0]
        .reshape(3, 3)
        .tolist()
    )


@kernel.wrong
def not_trained_long_enough(images, filtered):
    conv = nn.Conv2d(1, 1, kernel_size=3, bias=False)
    optimizer = torch.optim.SGD(conv.parameters(), lr=0.01)
    for _ in range(20):
        optimizer.zero_grad()
        ((conv(images) - filtered) ** 2).mean().backward()
        optimizer.step()
    return conv.weight.detach()[0, 0]


@kernel.wrong
def turned_around(images, filtered):
    return by_least_squares(images, filtered).flip(0, 1)


@kernel.wrong
def transposed(images, filtered):
    return by_least_squares(images, filtered).T


@kernel.wrong
def the_edge_kernel_of_the_chapter(images, filtered):
    return torch.tensor([[-1.0, 0, 1]] * 3)


@kernel.wrong
def rounds_to_whole_numbers(images, filtered):
    return by_least_squares(images, filtered).round()


@kernel.wrong
def from_neighbours_one_by_one(images, filtered):
    """Each weight by itself, as if the others were not there."""
    windows = F.unfold(images, 3).transpose(1, 2).reshape(-1, 9)
    target = filtered.reshape(-1, 1)
    return ((windows * target).sum(0) / (windows**2).sum(0)).reshape(3, 3)


# ---------------------------------------------------------------- 8.4

judged = Exercise(
    "8.4",
    title="A different accuracy each time",
    difficulty=1,
    minutes=10,
    kind=BUG,
    text="""
    `accuracy` gives another number whenever it is called, usually too low a one, and afterwards the model
    itself has changed. It computes no gradients, as it should; what else does it forget? Leave the model as
    it was found: in training mode if it was in training mode.
    """,
    stub='''
    def accuracy(model, images, labels, batch_size):
        """Returns the share of images whose class the model gets right, a number from 0 to 1."""
        right = 0
        with torch.no_grad():
            for start in range(0, len(images), batch_size):
                predicted = model(images[start : start + batch_size]).argmax(dim=1)
                right += (predicted == labels[start : start + batch_size]).sum().item()
        return right / len(images)
    ''',
    hints=(
        "The model has dropout and batch norm. How do these two know whether they are being trained?",
        "`torch.no_grad()` concerns gradients only. The mode is another thing: `model.training`.",
        "`model.eval()` before, and after it `model.train(was_training)` with what `model.training` said "
        "at the start.",
    ),
    why="""
    In training mode dropout throws away what is needed now, and batch norm uses the batch's own statistics
    (with batches of one image, nothing is left of it) and adds them to its running averages: a validation
    that trains the model. `no_grad` and `eval` are independent of each other, and one needs both.
    """,
)


def _judges():
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(64, 3)
    )
    with torch.no_grad():
        model[1].running_mean.copy_(torch.randn(4))
        model[1].running_var.copy_(torch.rand(4) + 0.5)
    return model


@judged.check
def check_judged(answer):
    for count, batch_size in ((2, 2), (3, 2), (10, 4), (40, 1), (40, 16)):
        for training in (True, False):
            model = _judges().train(training)
            images = torch.randn(count, 1, 6, 6)
            with torch.no_grad():
                labels = copy.deepcopy(model).eval()(images).argmax(1)
            labels[: count // 2] = (labels[: count // 2] + 1) % 3
            before = copy.deepcopy(model.state_dict())
            mode = "training" if training else "eval"
            with case(f"{count} images in batches of {batch_size}, a model in {mode} mode"):
                got = answer(model, images, labels, batch_size)
                same(got, 1 - count // 2 / count, "the accuracy")
                changed = [
                    name for name, value in model.state_dict().items() if not torch.equal(value, before[name])
                ]
                expect(not changed, f"the model's {', '.join(changed)} changed.")
                mine = "training" if model.training else "eval"
                expect(model.training == training, f"afterwards it is in {mine} mode.")
                expect(
                    all(m.training == training for m in model.modules()), "some layer is in another mode now."
                )


@judged.solution
def accuracy(model, images, labels, batch_size):
    was_training = model.training
    model.eval()
    right = 0
    with torch.no_grad():
        for start in range(0, len(images), batch_size):
            predicted = model(images[start : start + batch_size]).argmax(dim=1)
            right += (predicted == labels[start : start + batch_size]).sum().item()
    model.train(was_training)
    return right / len(images)


@judged.right
def on_a_copy(model, images, labels, batch_size):
    still = copy.deepcopy(model).eval()
    with torch.inference_mode():
        predicted = torch.cat([still(batch).argmax(1) for batch in images.split(batch_size)])
    return (predicted == labels).float().mean()


@judged.right
def all_at_once(model, images, labels, batch_size):
    was_training = model.training
    scores = model.train(False)(images).detach().numpy()
    model.train(was_training)
    return np.mean(scores.argmax(1) == labels.numpy())


@judged.wrong
def stays_in_eval_mode(model, images, labels, batch_size):
    model.eval()
    return accuracy(model, images, labels, batch_size)


@judged.wrong
def ends_in_training_mode(model, images, labels, batch_size):
    share = accuracy(model, images, labels, batch_size)
    model.train()
    return share


@judged.wrong
def dropout_alone(model, images, labels, batch_size):
    model[3].eval()
    with torch.no_grad():
        share = (model(images).argmax(1) == labels).float().mean()
    model[3].train(model.training)
    return share


@judged.wrong
def forgets_the_last_batch(model, images, labels, batch_size):
    whole = len(images) // batch_size * batch_size
    return accuracy(model, images[:whole], labels[:whole], batch_size)


@judged.wrong
def mean_of_the_batches(model, images, labels, batch_size):
    parts = zip(images.split(batch_size), labels.split(batch_size))
    return np.mean([accuracy(model, x, y, batch_size) for x, y in parts])


# ---------------------------------------------------------------- 8.5

dropped = Exercise(
    "8.5",
    title="Dropout",
    difficulty=2,
    minutes=15,
    kind=BUILD,
    text="""
    Dropout of single values, for training and for use, without PyTorch's own: in training, each value
    becomes 0 with probability `p`, and the others are scaled so that the mean stays what it was. In use,
    nothing happens.
    """,
    stub='''
    def dropout(x, p, training):
        """x: any tensor; p: from 0 to below 1. Returns a tensor of the same shape."""
        raise NotImplementedError("your turn")
    ''',
    hints=(
        "A mask of random numbers, one per value. And if 40 % are gone, by how much must the rest grow?",
        "What stays is 1 - p of the values, so each of them is divided by 1 - p.",
        "`x * (torch.rand_like(x) >= p) / (1 - p)` in training, `x` otherwise.",
    ),
    why="""
    Scaling in training, and not in use, keeps the network's answers free of p once it is trained: `eval()`
    is all it needs. Each call draws a new mask, so no neuron can rely on another.
    """,
)


@dropped.check
def check_dropped(answer):
    for p in (0.0, 0.25, 0.4, 0.8):
        for shape in ((1,), (2, 3)):
            x = torch.randint(1, 9, shape).float()
            with case(x=x, p=p, training=False):
                same(answer(x.clone(), p, False), x, "the answer")
        x = torch.full((100, 200), 3.0)
        with case(f"20,000 values of 3, p = {p}, training = True"):
            got = as_tensor(answer(x.clone(), p, True))
            expect(got.shape == x.shape, f"the shape should be {tuple(x.shape)}, not {tuple(got.shape)}.")
            part = (got == 0).double().mean().item()
            expect(abs(part - p) < 0.025, f"{part:.1%} of the values were dropped.")
            rest = got[got != 0]
            wanted = 3 / (1 - p)
            expect(
                torch.allclose(rest, torch.tensor(wanted, dtype=rest.dtype), rtol=1e-3),
                f"what stays should be {wanted:.4g}; it is {rest.min():.4g} to {rest.max():.4g}.",
            )
            rows = (got == 0).double().mean(1)
            spread = rows.std().item()
            expect(
                spread < 0.1, "whole rows are dropped together; each value should have a chance of its own."
            )
            columns = (got == 0).double().mean(0).std().item()
            expect(
                columns < 0.1,
                "whole columns are dropped together; each value should have a chance of its own.",
            )
            again = as_tensor(answer(x.clone(), p, True))
            expect(p == 0 or not torch.equal(got, again), "two calls drop the same values.")
    # 5,000 pairs of values: what is dropped together, in a row, channel or picture, is alike in every pair.
    for shape, words in (((10_000,), "10,000 values"), ((20, 10, 5, 10), "20 pictures with 10 channels")):
        x = torch.full(shape, 3.0)
        with case(f"{words}, all 3, p = 0.4, training = True"):
            got = as_tensor(answer(x.clone(), 0.4, True))
            expect(got.shape == x.shape, f"the shape should be {shape}, not {tuple(got.shape)}.")
            first, second = (got == 0).reshape(-1, 2).T
            alike = (first == second).double().mean().item()
            expect(
                0.4 < alike < 0.64, "neighbours are dropped together; each should have a chance of its own."
            )
    zeros = torch.tensor([0.0, -2.0])
    with case(x=zeros, p=0.0, training=True):
        same(answer(zeros.clone(), 0.0, True), zeros, "the answer")


@dropped.solution
def dropout(x, p, training):
    if not training:
        return x
    return x * (torch.rand_like(x) >= p) / (1 - p)


@dropped.right
def with_bernoulli(x, p, training):
    keep = 1 - p if training else 1.0
    return torch.where(torch.bernoulli(torch.full_like(x, keep)).bool(), x / keep, 0.0)


@dropped.right
def in_numpy(x, p, training):
    mask = np.random.binomial(1, 1 - p, x.shape) / (1 - p) if training else 1
    return x.numpy() * mask


@dropped.wrong
def always_trains(x, p, training):
    return dropout(x, p, True)


@dropped.wrong
def does_not_scale(x, p, training):
    return x * (torch.rand_like(x) >= p) if training else x


@dropped.wrong
def keeps_what_it_should_drop(x, p, training):
    return x * (torch.rand_like(x) < p) / max(p, 0.01) if training else x


@dropped.wrong
def scales_in_use(x, p, training):
    return x * (torch.rand_like(x) >= p) if training else x * (1 - p)


@dropped.wrong
def by_row(x, p, training):
    return x * (torch.rand(len(x), *[1] * (x.ndim - 1)) >= p) / (1 - p) if training else x


@dropped.wrong
def whole_channels(x, p, training):
    shape = x.shape[:2] + (1,) * (x.ndim - 2)
    return x * (torch.rand(shape) >= p) / (1 - p) if training else x


@dropped.wrong
def the_same_mask_each_time(x, p, training):
    mask = torch.rand(x.shape, generator=torch.Generator().manual_seed(0)) >= p
    return x * mask / (1 - p) if training else x


@dropped.wrong
def always_a_half(x, p, training):
    return dropout(x, 0.5, training)


# ---------------------------------------------------------------- 8.6

folded = Exercise(
    "8.6",
    title="Batch norm, folded away",
    difficulty=2,
    minutes=25,
    kind=BUILD,
    text="""
    In evaluation mode, batch norm multiplies each channel by one number and adds another. A convolution can do
    that by itself. `fold` gets a convolution and the `nn.BatchNorm2d` behind it, and returns one `nn.Conv2d` that
    answers as the two did in evaluation mode. The two themselves shall stay as they are. Kernel sizes, strides
    and paddings differ; the convolution may have a bias or none.
    """,
    stub='''
    def fold(conv, norm):
        """conv: nn.Conv2d, norm: nn.BatchNorm2d, trained. Returns an nn.Conv2d, as norm(conv(x)) in eval mode."""
        raise NotImplementedError("your turn")
    ''',
    hints=(
        "Write down what batch norm does to one channel in use, and sort it into a factor and an offset.",
        "The factor is weight / sqrt(running_var + eps). It goes to all weights of that output channel, and to "
        "the bias, from which the running mean is taken off first.",
        "`factor = norm.weight / (norm.running_var + norm.eps).sqrt()`; weights times "
        "`factor[:, None, None, None]`; bias `(bias - norm.running_mean) * factor + norm.bias`.",
    ),
    why="""
    This is done to nearly every network with batch norm before it is put to use: one layer less to compute, and
    the same answers. It also shows why a convolution in front of batch norm needs no bias: the mean that is
    taken off takes the bias with it.
    """,
)


def _trained_pair(inputs, outputs, bias=True, **options):
    conv = nn.Conv2d(inputs, outputs, bias=bias, **options)
    norm = nn.BatchNorm2d(outputs, eps=0.05)
    with torch.no_grad():
        norm.weight.copy_(torch.rand(outputs) + 0.5)
        norm.bias.copy_(torch.randn(outputs))
        norm.running_mean.copy_(torch.randn(outputs))
        norm.running_var.copy_(torch.rand(outputs) * 3 + 0.1)
    return conv, norm.eval()


@folded.check
def check_folded(answer):
    for inputs, outputs, options in (
        (1, 1, {"kernel_size": 1}),
        (1, 1, {"kernel_size": 1, "bias": False}),
        (2, 2, {"kernel_size": 3, "padding": 1}),
        (2, 3, {"kernel_size": 3, "bias": False}),
        (3, 2, {"kernel_size": (3, 2), "padding": (1, 0), "stride": 2}),
        (3, 3, {"kernel_size": 5, "stride": (1, 2)}),
    ):
        conv, norm = _trained_pair(inputs, outputs, **options)
        before = [copy.deepcopy(module.state_dict()) for module in (conv, norm)]
        x = torch.randint(-3, 4, (2, inputs, 6, 7)).float()
        with case(f"{conv}, and batch norm"):
            with torch.no_grad():
                wanted = copy.deepcopy(norm).eval()(conv(x))
            one = answer(conv, norm)
            expect(type(one) is nn.Conv2d, f"an nn.Conv2d is wanted, not {type(one).__name__}.")
            with torch.no_grad():
                same(one(x), wanted, "what the one convolution answers")
            for module, state in zip((conv, norm), before):
                changed = [k for k, v in module.state_dict().items() if not torch.equal(v, state[k])]
                expect(not changed, f"{type(module).__name__}'s {', '.join(changed)} changed.")


@folded.solution
def fold(conv, norm):
    factor = norm.weight / (norm.running_var + norm.eps).sqrt()
    bias = 0 if conv.bias is None else conv.bias
    one = nn.Conv2d(conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding)
    with torch.no_grad():
        one.weight.copy_(conv.weight * factor[:, None, None, None])
        one.bias.copy_((bias - norm.running_mean) * factor + norm.bias)
    return one


@folded.right
def by_pytorch(conv, norm):
    return nn.utils.fusion.fuse_conv_bn_eval(copy.deepcopy(conv).eval(), copy.deepcopy(norm).eval())


@folded.right
def by_asking_batch_norm(conv, norm):
    """What it answers to zero is the offset, and what it adds to that for one is the factor."""
    asked = copy.deepcopy(norm).eval()
    zero = torch.zeros(1, conv.out_channels, 1, 1)
    offset = asked(zero).flatten()
    factor = asked(zero + 1).flatten() - offset
    one = copy.deepcopy(conv)
    one.weight = nn.Parameter((conv.weight.flatten(1).T * factor).T.view_as(conv.weight).detach())
    bias = torch.zeros_like(offset) if conv.bias is None else conv.bias
    one.bias = nn.Parameter((bias * factor + offset).detach())
    return one


@folded.wrong
def forgets_the_bias_of_the_convolution(conv, norm):
    bare = copy.deepcopy(conv)
    bare.bias = None
    return fold(bare, norm)


@folded.wrong
def forgets_the_running_mean(conv, norm):
    centred = copy.deepcopy(norm)
    centred.running_mean.zero_()
    return fold(conv, centred)


@folded.wrong
def forgets_eps(conv, norm):
    exact = copy.deepcopy(norm)
    exact.eps = 0.0
    return fold(conv, exact)


@folded.wrong
def divides_by_the_variance(conv, norm):
    squared = copy.deepcopy(norm)
    squared.running_var.copy_((norm.running_var + norm.eps) ** 2 - norm.eps)
    return fold(conv, squared)


@folded.wrong
def forgets_the_learned_two(conv, norm):
    bare = copy.deepcopy(norm)
    nn.init.ones_(bare.weight)
    nn.init.zeros_(bare.bias)
    return fold(conv, bare)


@folded.wrong
def kernel_of_the_chapter(conv, norm):
    one = nn.Conv2d(conv.in_channels, conv.out_channels, kernel_size=3, padding=1)
    if conv.kernel_size == (3, 3):
        with torch.no_grad():
            one.weight.copy_(fold(conv, norm).weight)
            one.bias.copy_(fold(conv, norm).bias)
    return one


@folded.wrong
def changes_the_convolution_itself(conv, norm):
    one = fold(conv, norm)
    conv.weight.data, conv.bias = one.weight.data, one.bias
    return conv


@folded.wrong
def two_layers_as_they_were(conv, norm):
    return nn.Sequential(conv, norm)


# ---------------------------------------------------------------- 8.7

norm = Exercise(
    "8.7",
    title="Batch norm by hand",
    difficulty=3,
    minutes=35,
    kind=BUILD,
    text="""
    What `nn.BatchNorm2d` computes, without its factor and offset. In training, each channel is normalized
    by its own mean and variance over batch, height and width (dividing by N), and the running mean and
    variance move a tenth of the way towards the batch's; in use, the running ones normalize. `eps = 1e-5`
    is added to the variance before its root. Return the output and the two running tensors. One detail is
    hidden in the documentation: the variance that enters the running average is divided by N - 1.
    """,
    stub='''
    def batch_norm(x, running_mean, running_var, training):
        """x: (N, C, H, W); running_mean, running_var: (C,). Returns (output, running_mean, running_var)."""
        raise NotImplementedError("your turn")
    ''',
    hints=(
        "Which axes are averaged over so that one number per channel is left? How does a (C,) tensor meet "
        "a (N, C, H, W) one?",
        "`x.mean(dim=(0, 2, 3))`, and `[None, :, None, None]` or `keepdim=True` to bring it back. Two "
        "variances are needed: one to normalize, one for the running average.",
        "`new = 0.9 * running + 0.1 * batch` for both running tensors, with `x.var((0, 2, 3))` for the "
        "second; the output uses `x.var((0, 2, 3), unbiased=False)`.",
    ),
    why="""
    Two variances for one batch: dividing by N makes this batch's variance exactly 1, dividing by N - 1 is
    the better guess for all images. After one batch, the running mean has moved a tenth of the way only,
    which is why a network that was trained for a few steps seems to fall apart in eval mode.
    """,
)


@norm.check
def check_norm(answer):
    for shape in ((2, 1, 1, 1), (1, 1, 1, 2), (2, 1, 1, 2), (2, 2, 1, 1), (2, 3, 2, 2), (8, 4, 5, 5)):
        theirs = nn.BatchNorm2d(shape[1], affine=False)
        mean, var = torch.randint(-3, 4, (2, shape[1])).float()
        theirs.running_mean.copy_(mean)
        theirs.running_var.copy_(var.abs() + 1)
        for training in (False, True, True, False):
            x = torch.randint(-5, 6, shape).float()
            mean, var = theirs.running_mean.clone(), theirs.running_var.clone()
            with case(x=x, running_mean=mean, running_var=var, training=training):
                want = theirs.train(training)(x)
                got = answer(x.clone(), mean.clone(), var.clone(), training)
                expect(isinstance(got, tuple | list) and len(got) == 3, "return three tensors.")
                same(got[0], want, "the output", atol=1e-3)
                same(got[1], theirs.running_mean, "the running mean")
                same(got[2], theirs.running_var, "the running variance")


@norm.solution
def batch_norm(x, running_mean, running_var, training):
    mean, var = running_mean, running_var
    if training:
        mean, var = x.mean(dim=(0, 2, 3)), x.var(dim=(0, 2, 3), unbiased=False)
        running_mean = 0.9 * running_mean + 0.1 * mean
        running_var = 0.9 * running_var + 0.1 * x.var(dim=(0, 2, 3))
    output = (x - mean[:, None, None]) / (var[:, None, None] + 1e-5).sqrt()
    return output, running_mean, running_var


@norm.right
def in_numpy_on_flat_channels(x, running_mean, running_var, training):
    values = np.moveaxis(x.double().numpy(), 1, -1)
    flat, mean, var = values.reshape(-1, x.shape[1]), running_mean.numpy(), running_var.numpy()
    use = (flat.mean(0), flat.var(0)) if training else (mean, var)
    if training:
        mean, var = 0.9 * mean + 0.1 * flat.mean(0), 0.9 * var + 0.1 * flat.var(0, ddof=1)
    return np.moveaxis((values - use[0]) / np.sqrt(use[1] + 1e-5), -1, 1), mean, var


@norm.right
def in_place_with_lerp(x, running_mean, running_var, training):
    dims = (0, 2, 3)
    if not training:
        mean, var = running_mean[None, :, None, None], running_var[None, :, None, None]
    else:
        var, mean = torch.var_mean(x, dim=dims, correction=0, keepdim=True)
        running_mean.lerp_(mean.flatten(), 0.1)
        running_var.lerp_(x.var(dim=dims), 0.1)
    return [(x - mean) * torch.rsqrt(var + 1e-5), running_mean, running_var]


@norm.wrong
def running_variance_divided_by_n(x, running_mean, running_var, training):
    output, mean, _ = batch_norm(x, running_mean, running_var, training)
    var = 0.9 * running_var + 0.1 * x.var((0, 2, 3), unbiased=False) if training else running_var
    return output, mean, var


@norm.wrong
def output_with_the_unbiased_variance(x, running_mean, running_var, training):
    output, mean, var = batch_norm(x, running_mean, running_var, training)
    if training:
        output = (x - x.mean((0, 2, 3), keepdim=True)) / (x.var((0, 2, 3), keepdim=True) + 1e-5).sqrt()
    return output, mean, var


@norm.wrong
def always_with_the_batch(x, running_mean, running_var, training):
    output, *_ = batch_norm(x, running_mean, running_var, True)
    return output, *batch_norm(x, running_mean, running_var, training)[1:]


@norm.wrong
def always_with_the_running_ones(x, running_mean, running_var, training):
    return batch_norm(x, running_mean, running_var, False)


@norm.wrong
def moves_nine_tenths(x, running_mean, running_var, training):
    output, *_ = batch_norm(x, running_mean, running_var, training)
    if training:
        running_mean = 0.1 * running_mean + 0.9 * x.mean((0, 2, 3))
        running_var = 0.1 * running_var + 0.9 * x.var((0, 2, 3))
    return output, running_mean, running_var


@norm.wrong
def per_image(x, running_mean, running_var, training):
    output, mean, var = batch_norm(x, running_mean, running_var, training)
    if training:
        output = (x - x.mean((2, 3), keepdim=True)) / (
            x.var((2, 3), keepdim=True, unbiased=False) + 1e-5
        ).sqrt()
    return output, mean, var


@norm.wrong
def updates_in_use(x, running_mean, running_var, training):
    output, *_ = batch_norm(x, running_mean, running_var, training)
    return output, *batch_norm(x, running_mean, running_var, True)[1:]
