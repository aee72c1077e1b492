"""Chapter 7's exercises: each with its text, stub, hints, check, solution and wrong answers."""

import functools

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from sklearn.datasets import load_digits
from torch import nn
from torchvision import transforms

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
    shapes,
)

# ---------------------------------------------------------------- 7.1

formats = Exercise(
    "7.1",
    title="From picture to loss",
    difficulty=1,
    minutes=10,
    kind=PREDICT,
    text="""
    `white` is a white PIL image, 32 pixels wide and 20 high: `white = Image.new("RGB", (32, 20), (255, 255,
    255))`. What does each line give? A shape as a tuple, a number, or a dtype.
    """,
    stub="""
    gives = {
        "torch.tensor(np.array(white)).shape": ...,
        "torch.tensor(np.array(white)).dtype": ...,
        "transforms.ToTensor()(white).shape": ...,
        "transforms.ToTensor()(white).max()": ...,
        "transforms.Normalize((0.5,) * 3, (0.25,) * 3)(transforms.ToTensor()(white)).max()": ...,
        "torch.softmax(torch.tensor([7.0, 7.0]), dim=0)[0]": ...,
        "torch.softmax(torch.zeros(4, 2), dim=0)[0, 0]": ...,
        "nn.NLLLoss()(torch.tensor([[-0.5, -2.0], [-3.0, -1.5]]), torch.tensor([0, 1]))": ...,
    }
    """,
    hints=(
        "PIL says width × height. What do arrays and tensors say? And what does `ToTensor` do besides "
        "changing the type?",
        "Arrays are (height, width, channels) of bytes; `ToTensor` makes (channels, height, width) "
        "between 0 and 1. Look closely at each `dim`.",
        "`dim=0` of a (4, 2) tensor makes each *column* sum to 1. `NLLLoss` picks the entry of the right "
        "class in each row, negates, and takes the mean.",
    ),
    why="""
    Normalized white is (1 - 0.5) / 0.25 = 2. Equal scores share the probability, however large they are.
    The softmax along `dim=0` is a classical mistake: it compares images instead of classes, and nothing
    complains.
    """,
)


@formats.check
def check_formats(prediction):
    white = Image.new("RGB", (32, 20), (255, 255, 255))
    names = {"torch": torch, "nn": nn, "np": np, "transforms": transforms, "white": white}
    predicted(prediction, {key: eval(key, names) for key in formats.stub_keys})


formats.solution("""
import torch

gives = {
    "torch.tensor(np.array(white)).shape": (20, 32, 3),
    "torch.tensor(np.array(white)).dtype": torch.uint8,
    "transforms.ToTensor()(white).shape": (3, 20, 32),
    "transforms.ToTensor()(white).max()": 1.0,
    "transforms.Normalize((0.5,) * 3, (0.25,) * 3)(transforms.ToTensor()(white)).max()": 2.0,
    "torch.softmax(torch.tensor([7.0, 7.0]), dim=0)[0]": 0.5,
    "torch.softmax(torch.zeros(4, 2), dim=0)[0, 0]": 0.25,
    "nn.NLLLoss()(torch.tensor([[-0.5, -2.0], [-3.0, -1.5]]), torch.tensor([0, 1]))": 1.0,
}
""")
_FORMATS = dict(zip(formats.stub_keys, ((20, 32, 3), "uint8", (3, 20, 32), 1, 2, 0.5, 0.25, 1)))
formats.right(_FORMATS)
formats.right({**_FORMATS, formats.stub_keys[0]: [20, 32, 3], formats.stub_keys[1]: torch.uint8})
formats.wrong({**_FORMATS, formats.stub_keys[0]: (32, 20, 3)})
formats.wrong({**_FORMATS, formats.stub_keys[2]: (3, 32, 20)})
formats.wrong({**_FORMATS, formats.stub_keys[6]: 0.5})
formats.wrong({**_FORMATS, formats.stub_keys[7]: 2.0})
formats.wrong({**_FORMATS, formats.stub_keys[1]: torch.float32})

# ---------------------------------------------------------------- 7.2

pull = Exercise(
    "7.2",
    title="Which way the scores are pulled",
    difficulty=2,
    minutes=20,
    kind=BUILD,
    text="""
    The gradient of the loss with respect to the *scores*, without autograd: the check calls your function
    where autograd is switched off. The loss is what `nn.CrossEntropyLoss` computes, the mean over the images.
    The answer is shorter than the question: work it out for a single image with two scores first.
    """,
    stub='''
    def gradient_of_scores(scores, labels):
        """scores: (N, classes), labels: (N,) whole numbers. Returns (N, classes)."""
        raise NotImplementedError("your turn")
    ''',
    hints=(
        "The loss of one image is log(sum of e^score) minus the right class's score. Differentiate both "
        "parts with respect to one of the scores.",
        "The first part's derivative is that class's probability. The second part has a derivative for the "
        "right class only: -1.",
        "Softmax along dimension 1, minus the one-hot labels, divided by the number of images.",
    ),
    why="""
    Each score is pushed down by the probability that its class was given, and the right one is pulled up by
    1. So the gradient is what was answered minus what is true, and it never fades while the answer is wrong.
    With the squared error, the slope of the softmax stands in front as a factor, and that one fades.
    """,
)


@pull.check
def check_pull(answer):
    cases = [torch.randint(-3, 4, shape).float() for shape in shapes(2, 3)]
    cases += [torch.tensor([[1000.0, 0.0], [0.0, 1000.0]]), torch.randn(8, 10) * 5]
    for scores in cases:
        labels = torch.randint(scores.shape[1], (len(scores),))
        precise = scores.double().requires_grad_()
        (want,) = torch.autograd.grad(F.cross_entropy(precise, labels), precise)
        with case(scores=scores, labels=labels), torch.no_grad():
            same(answer(scores.clone(), labels.clone()), want, "the gradient")


@pull.solution
def gradient_of_scores(scores, labels):
    truth = F.one_hot(labels, scores.shape[1])
    return (torch.softmax(scores, dim=1) - truth) / len(scores)


@pull.right
def subtracts_in_place(scores, labels):
    gradient = torch.softmax(scores, 1)
    gradient[torch.arange(len(labels)), labels] -= 1
    return gradient / len(labels)


@pull.right
def in_numpy(scores, labels):
    powers = np.exp(scores.numpy() - scores.numpy().max(axis=1, keepdims=True))
    gradient = powers / powers.sum(axis=1, keepdims=True) - np.eye(scores.shape[1])[labels.numpy()]
    return gradient / scores.shape[0]


@pull.right
def from_log_softmax(scores, labels):
    gradient = F.log_softmax(scores, 1).exp().scatter_add(1, labels[:, None], -torch.ones(len(labels), 1))
    return gradient.div(len(labels))


@pull.wrong
def of_the_sum(scores, labels):
    return gradient_of_scores(scores, labels) * len(scores)


@pull.wrong
def downhill(scores, labels):
    return -gradient_of_scores(scores, labels)


@pull.wrong
def divides_by_all_the_numbers(scores, labels):
    return gradient_of_scores(scores, labels) / scores.shape[1]


@pull.wrong
def over_columns(scores, labels):
    return (torch.softmax(scores, dim=0) - F.one_hot(labels, scores.shape[1])) / len(scores)


@pull.wrong
def overflows(scores, labels):
    powers = scores.exp()
    return (powers / powers.sum(1, keepdim=True) - F.one_hot(labels, scores.shape[1])) / len(scores)


@pull.wrong
def forgets_the_wrong_classes(scores, labels):
    return gradient_of_scores(scores, labels) * F.one_hot(labels, scores.shape[1])


@pull.wrong
def of_the_squared_error(scores, labels):
    p = torch.softmax(scores, 1)
    error = p - F.one_hot(labels, scores.shape[1])
    return 2 * p * (error - (error * p).sum(1, keepdim=True)) / len(scores)


# ---------------------------------------------------------------- 7.3

twice = Exercise(
    "7.3",
    title="Never quite sure",
    difficulty=2,
    minutes=15,
    kind=BUG,
    text="""
    This training runs, the loss falls, and then it stops at 0.31 for good, although the two classes could
    not be easier to tell. Nor is the model ever quite sure of its answer. What keeps it? The model that you
    return should answer with scores: what softmax turns into the probabilities.
    """,
    stub='''
    def train(images, labels, n_epochs):
        """images: (N, features), labels: (N,) with 0 or 1. Returns a model that answers with scores (N, 2)."""
        model = nn.Sequential(nn.Linear(images.shape[1], 2), nn.Softmax(dim=1))
        loss_fn = nn.CrossEntropyLoss()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
        for _ in range(n_epochs):
            optimizer.zero_grad()
            loss_fn(model(images), labels).backward()
            optimizer.step()
        return model
    ''',
    hints=(
        "What does `nn.CrossEntropyLoss` expect to be given? Its documentation says so in the second "
        "sentence.",
        "It takes scores and applies log-softmax itself. How often does this program apply a softmax?",
        "Take the `nn.Softmax` out of the model.",
    ),
    why="""
    Softmax of something between 0 and 1 is between 0.27 and 0.73: the loss never falls below -log 0.73 =
    0.31, and the gradient fades while much is still to be learned. No error is raised, because
    probabilities are numbers as good as any others.
    """,
)


@twice.check
def check_twice(answer):
    labels = torch.arange(60) % 2
    for features, far in ((2, 6), (2, -6), (8, 6)):
        images = torch.randn(60, features) + far * labels[:, None]
        with case(f"60 images of {features} numbers, whose classes lie far apart"):
            model = answer(images, labels, 200)
            expect(callable(model), "return the model.")
            new = torch.randn(40, features) + far * (torch.arange(40) % 2)[:, None]
            with torch.no_grad():
                scores = as_tensor(model(new), "the model's answer")
            expect(scores.shape == (40, 2), f"the model should answer (40, 2), not {tuple(scores.shape)}.")
            sure = scores.softmax(1)[torch.arange(40), torch.arange(40) % 2].mean().item()
            expect(
                sure > 0.8,  # with softmax twice it cannot exceed 0.73
                f"after 200 epochs, softmax gives the right class {sure:.2f} on average; 0.8 is wanted.",
            )


@twice.solution
def train(images, labels, n_epochs):
    model = nn.Sequential(nn.Linear(images.shape[1], 2))
    loss_fn = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    for _ in range(n_epochs):
        optimizer.zero_grad()
        loss_fn(model(images), labels).backward()
        optimizer.step()
    return model


def _trained(images, labels, n_epochs, last, loss_fn):
    model = nn.Sequential(nn.Linear(images.shape[1], 2), last)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    for _ in range(n_epochs):
        optimizer.zero_grad()
        loss_fn(model(images), labels).backward()
        optimizer.step()
    return model


@twice.right
def with_logarithms_of_probabilities(images, labels, n_epochs):
    return _trained(images, labels, n_epochs, nn.LogSoftmax(dim=1), nn.NLLLoss())


@twice.right
def softmax_only_in_the_loss(images, labels, n_epochs):
    def loss_fn(scores, labels):
        return -scores.softmax(1)[torch.arange(len(labels)), labels].clamp(min=1e-12).log().mean()

    return _trained(images, labels, n_epochs, nn.Identity(), loss_fn)


@twice.right
def ten_times_the_probabilities(images, labels, n_epochs):
    """Scores from 0 to 10: enough for softmax to be sure."""

    class Times10(nn.Module):
        def forward(self, probabilities):
            return 10 * probabilities

    last = nn.Sequential(nn.Softmax(dim=1), Times10())
    return _trained(images, labels, n_epochs, last, nn.CrossEntropyLoss())


@twice.wrong
def trains_longer(images, labels, n_epochs):
    return _trained(images, labels, 3 * n_epochs, nn.Softmax(dim=1), nn.CrossEntropyLoss())


@twice.wrong
def another_dimension(images, labels, n_epochs):
    return _trained(images, labels, n_epochs, nn.Softmax(dim=0), nn.CrossEntropyLoss())


@twice.wrong
def sigmoid_instead(images, labels, n_epochs):
    return _trained(images, labels, n_epochs, nn.Sigmoid(), nn.CrossEntropyLoss())


@twice.wrong
def probabilities_and_their_own_loss(images, labels, n_epochs):
    def loss_fn(probabilities, labels):
        return F.nll_loss(probabilities.clamp(min=1e-12).log(), labels)

    return _trained(images, labels, n_epochs, nn.Softmax(dim=1), loss_fn)


@twice.wrong
def not_trained(images, labels, n_epochs):
    return nn.Linear(images.shape[1], 2)


# ---------------------------------------------------------------- 7.4

mislabelled = Exercise(
    "7.4",
    title="Somebody got these wrong",
    difficulty=3,
    minutes=40,
    kind=EXPERIMENT,
    seconds=2,
    text="""
    Labels come from people, and people make mistakes. Of these 1,000 digits of 8 × 8 pixels, 50 bear the
    label of another digit. Which? Return the places of 50 suspects, and catch at least 38 of the 50. You have
    nothing but the images and the labels as they are, mistakes included.
    """,
    stub='''
    def suspects(images, labels):
        """images: (1000, 1, 8, 8) between 0 and 1, labels: (1000,). Returns 50 places, numbers below 1000."""
        raise NotImplementedError("your turn")
    ''',
    hints=(
        "A network that knows digits will find a mislabelled one surprising. How does one measure surprise?",
        "By the loss of each single image. But a network that was trained on a wrong label for long enough "
        "is no longer surprised by it.",
        "Cut the digits into five parts. For each, train on the other four, and take the loss of every image "
        'in the part (`reduction="none"`). Return the places of the 50 largest losses.',
    ),
    why="""
    The loss is the surprise at a label, and that of images outside the training is honest. Training on all
    of them works if it ends early: what is common is learned first, the exceptions by heart, later. In the
    well-known data sets, too, some labels in a hundred are wrong, and found in this way.
    """,
)


@mislabelled.check
def check_mislabelled(answer):
    images, labels = _digits()
    chosen = torch.randperm(len(labels))[:1000]
    images, given = images[chosen], labels[chosen].clone()
    wrong = torch.randperm(1000)[:50]
    given[wrong] = (given[wrong] + torch.randint(1, 10, (50,))) % 10
    with case("1,000 digits, 50 of them with a wrong label"):
        places = as_tensor(answer(images.clone(), given.clone()), "the places").flatten().long()
        expect(len(places) == 50, f"return 50 places, not {len(places)}.")
        expect(
            len(places.unique()) == 50 and places.min() >= 0 and places.max() < 1000,
            "the places should be 50 different numbers from 0 to 999.",
        )
        caught = int(torch.isin(places, wrong).sum())
        if caught < 38:
            missed = wrong[~torch.isin(wrong, places)][0]
            picture = Picture(
                images[missed, 0],
                F.one_hot(labels[chosen[missed]], 10),
                F.one_hot(given[missed], 10),
                titles=(f"number {int(missed)}, missed", "what it is, 0 to 9", "its label"),
            )
            expect(False, f"{caught} of the 50 are caught, and 38 are wanted.", picture)


@mislabelled.solution
def suspects(images, labels):
    losses = torch.zeros(len(labels))
    parts = torch.randperm(len(labels)).chunk(5)
    for number, part in enumerate(parts):
        others = torch.cat([p for i, p in enumerate(parts) if i != number])
        model = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 10))
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        for _ in range(8):
            for batch in others[torch.randperm(len(others))].split(32):
                optimizer.zero_grad()
                F.cross_entropy(model(images[batch]), labels[batch]).backward()
                optimizer.step()
        with torch.no_grad():
            losses[part] = F.cross_entropy(model(images[part]), labels[part], reduction="none")
    return losses.topk(50).indices


@mislabelled.right
def stops_early(images, labels):
    model = _epochs(_connected(), images, labels, 8)
    with torch.no_grad():
        return F.cross_entropy(model(images), labels, reduction="none").argsort(descending=True)[:50]


@mislabelled.right
def asks_the_neighbours(images, labels):
    """No network: how many of the ten nearest other images bear the same label?"""
    distances = torch.cdist(images.flatten(1), images.flatten(1)).fill_diagonal_(float("inf"))
    nearest = distances.topk(10, largest=False).indices
    return (labels[nearest] == labels[:, None]).float().mean(1).argsort()[:50].tolist()


@mislabelled.wrong
def learns_them_by_heart(images, labels):
    """The nearest image of all is the image itself, and its label is no surprise."""
    nearest = torch.cdist(images.flatten(1), images.flatten(1)).argmin(1)
    return (labels[nearest] == labels).float().topk(50, largest=False).indices


@mislabelled.wrong
def least_surprising(images, labels):
    model = _epochs(_connected(), images, labels, 8)
    with torch.no_grad():
        return F.cross_entropy(model(images), labels, reduction="none").topk(50, largest=False).indices


@mislabelled.wrong
def least_sure(images, labels):
    model = _epochs(_connected(), images, labels, 8)
    with torch.no_grad():
        return model(images).softmax(1).max(1).values.topk(50, largest=False).indices


@mislabelled.wrong
def at_random(images, labels):
    return torch.randperm(1000)[:50]


@mislabelled.wrong
def the_first_ones(images, labels):
    return list(range(50))


@mislabelled.wrong
def without_training(images, labels):
    with torch.no_grad():
        return F.cross_entropy(_connected()(images), labels, reduction="none").topk(50).indices


# ---------------------------------------------------------------- 7.5

temperature = Exercise(
    "7.5",
    title="Too sure by half",
    difficulty=2,
    minutes=20,
    kind=BUILD,
    text="""
    A network that has learned its training images by heart is too sure of everything. There is a cheap cure:
    divide all scores by one number, the *temperature*. Every answer stays what it was, only how sure it is
    changes. Find the temperature with which images that took no part in the training are most likely: that
    of the lowest mean negative log likelihood. It lies between 0.05 and 50.
    """,
    stub='''
    def temperature_for(scores, labels):
        """scores: (N, classes), labels: (N,), of held-out images. Returns the temperature, one number."""
        raise NotImplementedError("your turn")
    ''',
    hints=(
        "One number is to be found, and you can compute how good any number is. How would you look for it?",
        "Try many. Are 1 and 2 as far apart as 10 and 11?",
        "`nn.CrossEntropyLoss()(scores / t, labels)` for a few hundred t from 0.05 to 50, each a bit larger "
        "than the last by the same *factor*. Or gradient descent on the logarithm of t.",
    ),
    why="""
    This is temperature scaling (Guo et al., 2017). One parameter cannot overfit to a thousand images, and it
    makes probabilities that deserve the name: of those that are 80 % sure, about 80 % are right. Accuracy
    cannot be the guide, since no temperature changes it.
    """,
)


@temperature.check
def check_temperature(answer):
    for classes, too_large in ((2, 1.0), (2, 3.0), (2, 0.3), (10, 8.0), (5, 25.0)):
        honest = torch.randn(1000, classes) * 2
        labels = torch.multinomial(honest.softmax(1), 1)[:, 0]
        scores = honest * too_large
        candidates = torch.logspace(np.log10(0.05), np.log10(50), 2000, dtype=torch.float64)
        losses = [F.cross_entropy(scores.double() / t, labels).item() for t in candidates[::20]]
        start = max(0, 20 * int(np.argmin(losses)) - 20)
        near = candidates[start : start + 41]
        best = min(F.cross_entropy(scores.double() / t, labels).item() for t in near)
        with case(f"1,000 images of {classes} classes", scores=scores, labels=labels):
            found = float(as_tensor(answer(scores.clone(), labels.clone()), "the temperature"))
            expect(found > 0, f"a temperature is above 0, and this is {found:.3g}.")
            loss = F.cross_entropy(scores.double() / found, labels).item()
            expect(
                loss <= best + 1e-3,
                f"with {found:.3g}, the mean negative log likelihood is {loss:.4f}; {best:.4f} can be had.",
            )


@temperature.solution
def temperature_for(scores, labels):
    candidates = torch.logspace(np.log10(0.05), np.log10(50), 400)
    losses = torch.stack([F.cross_entropy(scores / t, labels) for t in candidates])
    return candidates[losses.argmin()].item()


@temperature.right
def by_gradient_descent(scores, labels):
    logarithm = torch.zeros((), requires_grad=True)
    optimizer = torch.optim.Adam([logarithm], lr=0.05)
    for _ in range(300):
        optimizer.zero_grad()
        F.cross_entropy(scores / logarithm.exp(), labels).backward()
        optimizer.step()
    return logarithm.exp().detach()


@temperature.right
def by_bisection(scores, labels):
    """The loss is convex in 1 / t: halve the interval in which its slope changes sign."""
    low, high = 1 / 50, 1 / 0.05
    for _ in range(40):
        middle = torch.tensor((low * high) ** 0.5, requires_grad=True)
        F.cross_entropy(scores * middle, labels).backward()
        low, high = (low, middle.item()) if middle.grad > 0 else (middle.item(), high)
    return 1 / low


@temperature.wrong
def as_it_is(scores, labels):
    return 1.0


@temperature.wrong
def whole_numbers_only(scores, labels):
    return min(range(1, 51), key=lambda t: F.cross_entropy(scores / t, labels).item())


@temperature.wrong
def multiplies(scores, labels):
    return 1 / temperature_for(scores, labels)


@temperature.wrong
def by_accuracy(scores, labels):
    candidates = torch.logspace(-1.3, 1.7, 100)
    right = torch.stack([((scores / t).argmax(1) == labels).float().mean() for t in candidates])
    return candidates[right.argmax()]


@temperature.wrong
def spread_of_the_scores(scores, labels):
    return scores.std()


@temperature.wrong
def never_below_one(scores, labels):
    return max(1.0, temperature_for(scores, labels))


@temperature.wrong
def as_sure_as_possible(scores, labels):
    return 0.05


# ---------------------------------------------------------------- 7.6

stream = Exercise(
    "7.6",
    title="Statistics of images that do not fit",
    difficulty=3,
    minutes=30,
    kind=BUILD,
    text="""
    A million images do not fit into memory at once; a loader hands them over in batches, and the last one
    is smaller. Return mean and standard deviation of each channel over all pixels of all images, as if they
    had been there together (divided by N or N - 1, as you like). Keep no images: you may go through
    `batches` only once.
    """,
    stub='''
    def channel_statistics(batches):
        """batches: an iterator of tensors (n, C, H, W). Returns two tensors (C,): mean, standard deviation."""
        raise NotImplementedError("your turn")
    ''',
    hints=(
        "Which sums over all pixels are enough to know the mean? And the deviation?",
        "The variance is the mean of the squares minus the square of the mean. So three things are enough "
        "to carry along.",
        "Add up per channel, in float64: the number of pixels, the sum, the sum of squares. At the end, "
        "mean = sum / n, variance = squares / n - mean².",
    ),
    why="""
    Neither means of batches (the last is smaller) nor deviations of batches (how the batches differ from
    each other is lost) can be averaged. Sums can. Subtracting two large numbers costs digits, hence
    float64.
    """,
)


@stream.check
def check_stream(answer):
    def holds(counts, channels, offset):
        brightness = torch.arange(len(counts)).float()
        sizes = [(count, channels, 1, 2) for count in counts]
        batches = [torch.randint(0, 5, size) + b + offset for size, b in zip(sizes, brightness)]
        pixels = torch.cat(batches).transpose(0, 1).flatten(1).double()
        deviations = [pixels.std(1, unbiased=unbiased) for unbiased in (False, True)]
        with case(f"batches of {counts} images with {channels} channels", first=batches[0]):
            got = answer(iter([batch.clone() for batch in batches]))
            expect(
                isinstance(got, tuple | list) and len(got) == 2, "return two things: means and deviations."
            )
            same(got[0], pixels.mean(1), "the mean")
            std = as_tensor(got[1], "the deviation")
            if not any(std.shape == d.shape and torch.allclose(std, d, rtol=1e-3) for d in deviations):
                same(std, deviations[0], "the standard deviation", rtol=1e-3)

    for counts in ((2,), (1, 1), (2, 1), (3, 3, 1), (8, 8, 3)):
        for channels in (1, 3):
            holds(counts, channels, 0)
    holds((4, 4, 2), 3, 1000)


@stream.solution
def channel_statistics(batches):
    count, total, squares = 0, 0.0, 0.0
    for images in batches:
        images = images.double()
        count += images[:, 0].numel()
        total = total + images.sum(dim=(0, 2, 3))
        squares = squares + (images**2).sum(dim=(0, 2, 3))
    mean = total / count
    return mean, (squares / count - mean**2).sqrt()


@stream.right
def with_welford(batches):
    """Joins the statistics of each batch to those so far, which keeps all digits."""
    count, mean, spread = 0, 0.0, 0.0
    for images in batches:
        pixels = images.double().movedim(1, 0).flatten(1)
        n, m, s = pixels.shape[1], pixels.mean(1), ((pixels - pixels.mean(1, keepdim=True)) ** 2).sum(1)
        step, together = m - mean, count + n
        spread = spread + s + step**2 * count * n / together
        count, mean = together, mean + step * n / together
    return mean, (spread / (count - 1)) ** 0.5


@stream.right
def with_sums_in_numpy(batches):
    sums = np.zeros((3, 1))
    for images in batches:
        flat = images.numpy().astype(np.float64).transpose(1, 0, 2, 3).reshape(images.shape[1], -1)
        sums = sums + np.stack([np.ones_like(flat), flat, flat**2]).sum(-1)
    mean = sums[1] / sums[0]
    return [mean, np.sqrt(sums[2] / sums[0] - mean**2)]


@stream.wrong
def mean_of_the_deviations_of_batches(batches):
    pairs = [(b.float().mean((0, 2, 3)), b.float().std((0, 2, 3), unbiased=False)) for b in batches]
    return tuple(torch.stack(column).mean(0) for column in zip(*pairs))


@stream.wrong
def mean_of_the_deviations_of_images(batches):
    images = torch.cat(list(batches)).float()
    return images.mean((0, 2, 3)), images.std(dim=(2, 3), unbiased=False).mean(0)


@stream.wrong
def deviation_of_the_means_of_images(batches):
    images = torch.cat(list(batches)).float()
    return images.mean((0, 2, 3)), images.mean(dim=(2, 3)).std(dim=0)


@stream.wrong
def last_batch_counts_too_much(batches):
    batches = [b.double() for b in batches]
    mean = torch.stack([b.mean((0, 2, 3)) for b in batches]).mean(0)
    squares = torch.stack([(b**2).mean((0, 2, 3)) for b in batches]).mean(0)
    return mean, (squares - mean**2).sqrt()


@stream.wrong
def first_batch_only(batches):
    images = next(batches).double()
    return images.mean((0, 2, 3)), images.std((0, 2, 3), unbiased=False)


@stream.wrong
def forgets_the_root(batches):
    mean, std = channel_statistics(batches)
    return mean, std**2


@stream.wrong
def all_channels_together(batches):
    images = torch.cat(list(batches)).double()
    return images.mean().expand(images.shape[1]), images.std().expand(images.shape[1])


# ---------------------------------------------------------------- 7.7

moved = Exercise(
    "7.7",
    title="One pixel to the left",
    difficulty=3,
    minutes=40,
    kind=EXPERIMENT,
    seconds=4,
    text="""
    Fully connected networks take a digit for another one as soon as it moves: trained on scikit-learn's
    real 8 × 8 digits, they read 96 % of new ones, and 45 % of the same ones one pixel farther left, right,
    up or down. Train a network that reads them all the same: at least 85 % of the moved digits, and 90 % of
    those that stand where they did. `fit` gets 1,000 digits; the check moves and counts others.
    """,
    stub='''
    def fit(images, labels):
        """images: (1000, 1, 8, 8) between 0 and 1, labels: (1000,). Returns a model, (N, 1, 8, 8) -> (N, 10)."""
        raise NotImplementedError("your turn")
    ''',
    hints=(
        "The network has never seen a digit that stood elsewhere. Who could show it one?",
        "Moving a digit by a pixel does not change what it is. Make more training images from those that "
        "you have.",
        "Concatenate the images with four copies that are moved by one pixel (zeros come in at the "
        "border), and `labels.repeat(5)`; then train as usual.",
    ),
    why="""
    Augmentation tells the network what it cannot know: that the place does not matter. It costs five times
    the work per epoch, and the network has to spend weights on every place. Chapter 8 builds the same
    knowledge into the layers.
    """,
)

DIRECTIONS = {"left": (0, -1), "right": (0, 1), "up": (-1, 0), "down": (1, 0)}


def shifted(images, down, right):
    """`images` moved, with zeros where nothing comes in."""
    padded = F.pad(images, (1, 1, 1, 1))
    return padded[..., 1 - down : 9 - down, 1 - right : 9 - right]


@functools.cache
def _digits():
    digits = load_digits()
    return torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16, torch.tensor(digits.target)


@moved.check
def check_moved(answer):
    images, labels = _digits()
    order = torch.randperm(len(labels))
    train, test = order[:1000], order[1000:]
    model = answer(images[train].clone(), labels[train].clone())
    expect(callable(model), "Return the trained model.")
    if isinstance(model, nn.Module):
        model.eval()
    places = {"where they stood": images[test]}
    places |= {f"one pixel {name}": shifted(images[test], *by) for name, by in DIRECTIONS.items()}
    for place, some in places.items():
        with case(f"digits {place}"), torch.no_grad():
            scores = as_tensor(model(some), "the model's answer")
            want = (len(some), 10)
            expect(tuple(scores.shape) == want, f"the scores should be {want}, not {tuple(scores.shape)}.")
            right = scores.argmax(1) == labels[test]
            least = 0.90 if place.startswith("where") else 0.85
            share = right.float().mean().item()
            if share < least:
                bad = int((~right).nonzero()[0])
                picture = Picture(
                    images[test[bad], 0],
                    F.one_hot(labels[test[bad]], 10),
                    scores[bad].softmax(0),
                    titles=(
                        f"a {labels[test[bad]]} where it stood",
                        "probabilities of 0 to 9",
                        "yours, moved",
                    ),
                )
                expect(False, f"{share:.0%} were read, and {least:.0%} are wanted.", picture)


def _epochs(model, images, labels, n_epochs):
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
    for _ in range(n_epochs):
        for batch in torch.randperm(len(images)).split(64):
            optimizer.zero_grad()
            F.cross_entropy(model(images[batch]), labels[batch]).backward()
            optimizer.step()
    return model


def _connected(hidden=64):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, hidden), nn.ReLU(), nn.Linear(hidden, 10))


@moved.solution
def fit(images, labels):
    padded = F.pad(images, (1, 1, 1, 1))
    corners = [(1, 1), (1, 0), (1, 2), (0, 1), (2, 1)]
    images = torch.cat([padded[..., top : top + 8, left : left + 8] for top, left in corners])
    labels = labels.repeat(5)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
    for _ in range(8):
        for batch in torch.randperm(len(images)).split(64):
            optimizer.zero_grad()
            F.cross_entropy(model(images[batch]), labels[batch]).backward()
            optimizer.step()
    return model


@moved.right
def moves_each_batch(images, labels):
    model = _connected(128)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
    for _ in range(40):
        for batch in torch.randperm(len(images)).split(64):
            down, right = [(0, 0), *DIRECTIONS.values()][torch.randint(5, ())]
            optimizer.zero_grad()
            F.cross_entropy(model(shifted(images[batch], down, right)), labels[batch]).backward()
            optimizer.step()
    return model


@moved.right
class NearestNeighbour:
    """No network at all: the label of the nearest of all training digits and their moved copies."""

    def __init__(self, images, labels):
        ways = [(0, 0), *DIRECTIONS.values()]
        self.known = torch.cat([shifted(images, *way) for way in ways]).flatten(1)
        self.labels = labels.repeat(5)

    def __call__(self, images):
        nearest = torch.cdist(images.flatten(1), self.known).argmin(1)
        return F.one_hot(self.labels[nearest], 10)


@moved.wrong
def without_moving(images, labels):
    return _epochs(_connected(), images, labels, 20)


@moved.wrong
def one_direction_only(images, labels):
    copies = torch.cat([images, shifted(images, 0, 1)])
    return _epochs(_connected(), copies, labels.repeat(2), 8)


@moved.wrong
def forgets_the_labels_order(images, labels):
    copies = torch.cat([images, *(shifted(images, *way) for way in DIRECTIONS.values())])
    return _epochs(_connected(), copies, labels.repeat_interleave(5), 4)


@moved.wrong
def noise_instead(images, labels):
    copies = torch.cat([images + 0.2 * torch.randn_like(images) for _ in range(5)])
    return _epochs(_connected(), copies, labels.repeat(5), 4)


@moved.wrong
def still_untrained(images, labels):
    return _connected()
