"""Chapter 1's exercises: each with its text, stub, hints, check, solution and wrong answers."""

import functools
import math
from fractions import Fraction

import torch
from torch import nn

from p1ch1.shapes import accuracy, draw_shapes
from util.exercises import BUG, BUILD, EXPERIMENT, PREDICT, Exercise, case, expect, predicted, same, shapes

# ---------------------------------------------------------------- 1.1

brightest_pixel = Exercise(
    "1.1",
    title="The brightest pixel",
    difficulty=1,
    minutes=10,
    kind=BUILD,
    text="""
    A warm-up. Where is the brightest pixel of a picture? If several are equally bright, the first of them,
    reading row by row.
    """,
    stub='''
    def brightest_pixel(image):
        """image: (H, W) tensor. Returns (row, column) of its largest value."""
        raise NotImplementedError("your turn")
    ''',
    hints=(
        "`argmax` without a dimension counts through the rows, as if they stood one behind the other.",
        "From such a count, the row is how many whole rows fit into it; the column is what remains.",
        "`divmod(place, width)` gives both.",
    ),
    why="`argmax` numbers the elements in the order in which chapter 3 will find them in memory: row by row.",
)


@brightest_pixel.check
def check_brightest_pixel(answer):
    images = []
    for shape in shapes(2, 3):
        for place in range(math.prod(shape)):
            images.append(torch.zeros(shape))
            images[-1].view(-1)[place] = 1
    equals = torch.tensor([[0.0, 1.0], [1.0, 0.0]])  # two brightest: above and right, below and left
    images += [equals, equals.flip(0), -1 - equals]
    images += [torch.randint(-9, 10, shape).float() for shape in ((3, 2), (5, 4), (16, 16))]
    for image in images:
        with case(image=image):
            row = int((image.max(1).values == image.max()).float().argmax())
            same(answer(image), (row, int(image[row].argmax())), "(row, column)")


@brightest_pixel.solution
def brightest_pixel_solution(image):
    return divmod(image.argmax().item(), image.shape[1])


@brightest_pixel.right
def _(image):
    return torch.nonzero(image == image.max())[0]


@brightest_pixel.right
def _(image):
    best = max((v, -r, -c) for r, line in enumerate(image.tolist()) for c, v in enumerate(line))
    return [-best[1], -best[2]]


@brightest_pixel.right
def row_of_the_brightest_row_first(image):
    row = int(image.amax(1).argmax())
    return row, int(image[row].argmax())


@brightest_pixel.wrong
def smallest_row_and_smallest_column(image):
    return (image == image.max()).nonzero().amin(0)


@brightest_pixel.wrong
def column_by_column(image):
    column = int(image.amax(0).argmax())
    return int(image[:, column].argmax()), column


brightest_pixel.wrong(lambda image: image.argmax())
brightest_pixel.wrong(lambda image: divmod(image.argmax().item(), 16))
brightest_pixel.wrong(lambda image: divmod(image.argmax().item(), image.shape[1])[::-1])
brightest_pixel.wrong(lambda image: divmod(image.argmax().item(), image.shape[0]))
brightest_pixel.wrong(lambda image: (int(image.sum(1).argmax()), int(image.sum(0).argmax())))

# ---------------------------------------------------------------- 1.2

what_is_y = Exercise(
    "1.2",
    title="Be the kernel",
    difficulty=1,
    minutes=5,
    kind=PREDICT,
    text="""
    A notebook has three cells. Cell 1: `x = 1`. Cell 2: `x = x + 1`. Cell 3: `y = x * 10`. Hasty readers
    execute them in various orders. What is `y` at the end of each? Predict, then try it in three new cells.
    """,
    stub="""
    what_is_y = {
        "1 2 3": ...,
        "1 2 2 3": ...,
        "1 3 2": ...,
        "1 2 3 1": ...,
        "1 2 3 1 2 2 2": ...,
        "1 2 1 2 3": ...,
        "1 3 2 3": ...,
    }
    """,
    hints=(
        "Write down `x` after each step.",
        "`y` is computed when cell 3 runs, and at no other time. Later changes of `x` do not reach it.",
    ),
    why="""
    A cell's result belongs to the moment in which the cell ran. What stands above and below it on the page
    says nothing about that moment; only *Restart and Run All* makes page and memory agree.
    """,
)


@what_is_y.check
def check_what_is_y(prediction):
    truth = {}
    for order in what_is_y.stub_keys:
        names: dict = {}
        for cell in order.split():
            exec({"1": "x = 1", "2": "x = x + 1", "3": "y = x * 10"}[cell], names)
        truth[order] = names["y"]
    predicted(prediction, truth)


what_is_y.solution("""
what_is_y = {
    "1 2 3": 20,
    "1 2 2 3": 30,
    "1 3 2": 10,
    "1 2 3 1": 20,
    "1 2 3 1 2 2 2": 20,
    "1 2 1 2 3": 20,
    "1 3 2 3": 20,
}
""")
_Y = dict(zip(what_is_y.stub_keys, (20, 30, 10, 20, 20, 20, 20), strict=True))
what_is_y.right({order: float(y) for order, y in reversed(_Y.items())})
what_is_y.right({order: torch.tensor(y) for order, y in _Y.items()})
what_is_y.wrong(dict.fromkeys(_Y, 20))
what_is_y.wrong({**_Y, "1 3 2": 20})
what_is_y.wrong({**_Y, "1 2 3 1": 10})
what_is_y.wrong({**_Y, "1 2 3 1 2 2 2": 40})
what_is_y.wrong(list(_Y.values()))

# ---------------------------------------------------------------- 1.3

slope = Exercise(
    "1.3",
    title="A slope by hand",
    difficulty=1,
    minutes=10,
    kind=BUILD,
    text="""
    Autograd computes derivatives exactly. Anyone can compute them nearly: evaluate the function a little to
    the left and a little to the right. Do so; `check` compares you with autograd, and allows an error of
    0.0001.
    """,
    stub='''
    def slope(f, x):
        """f: a function of a tensor; x: a tensor with one float64 number. Returns the slope of f at x."""
        raise NotImplementedError("your turn")
    ''',
    hints=(
        "Rise over run: how much does f change between two neighbours, and how far apart are they?",
        "Take the neighbours on both sides, `x - h` and `x + h`; the errors of the two halves cancel.",
        "`(f(x + h) - f(x - h)) / (2 * h)` with an h of 0.0001.",
    ),
    why="""
    With one neighbour the error shrinks like h, with two like h². A much smaller h is no better: the
    difference of two nearly equal numbers loses digits. Chapter 5 needs none of this any more, but tests
    its gradients in this way.
    """,
)


@slope.check
def check_slope(answer):
    functions = {
        "3 x": lambda t: 3 * t,
        "x²": lambda t: t**2,
        "x³ - 2 x": lambda t: t**3 - 2 * t,
        "sin x": torch.sin,
        "exp x": torch.exp,
        "sin 20 x": lambda t: torch.sin(20 * t),
    }
    for name, f in functions.items():
        for x in (0.0, 1.0, -0.5, float(torch.rand(())) * 2 - 1):
            point = torch.tensor(x, dtype=torch.float64, requires_grad=True)
            f(point).backward()
            with case(f"f(x) = {name}, x = {x:.3g}"):
                same(answer(f, point.detach()), point.grad, "the slope", atol=1e-4, rtol=1e-5)


@slope.solution
def slope_solution(f, x, h=1e-4):
    return (f(x + h) - f(x - h)) / (2 * h)


@slope.right
def _(f, x):
    h = 1e-3
    near, far = (f(x + h) - f(x - h)) / (2 * h), (f(x + 2 * h) - f(x - 2 * h)) / (4 * h)
    return float((4 * near - far) / 3)


@slope.right
def _(f, x):
    x = x.clone().requires_grad_()
    return torch.autograd.grad(f(x), x)[0]


@slope.right
def by_a_step_into_the_complex_plane(f, x):
    return f(torch.complex(x, torch.tensor(1e-20, dtype=x.dtype))).imag / 1e-20


slope.wrong(lambda f, x: f(x + 1.0) - f(x))
slope.wrong(lambda f, x: f(x) / x)
slope.wrong(lambda f, x: (f(x + 1e-4) - f(x - 1e-4)) / 1e-4)
slope.wrong(lambda f, x: (f(x + 1e-3) - f(x)) / 1e-3)
slope.wrong(lambda f, x: (f(x + 1e-14) - f(x - 1e-14)) / 2e-14)

# ---------------------------------------------------------------- 1.4

honest_score = Exercise(
    "1.4",
    title="Too good to be true",
    difficulty=2,
    minutes=15,
    kind=BUG,
    text="""
    How good is a way of learning? This function is meant to say it: what the learner makes of the given
    pictures, how large a share of *new* ones will it get right? With a learner that knows every picture by
    heart, the function says 100 %. Mend it; you have no other pictures than these.
    """,
    stub='''
    def honest_score(images, labels, learn):
        """images (N, 1, 16, 16), labels (N,), N at least 200; learn(images, labels) gives a function from images
        to labels. Returns the share of right answers, 0 to 1, to expect on pictures not learned from."""
        rule = learn(images, labels)
        return (rule(images) == labels).float().mean().item()
    ''',
    hints=(
        "On which pictures is the rule tried, and has it seen them before?",
        "Keep some of the pictures back when you learn, and try the rule on those only.",
        "Learn from the first half, try on the second; or, better, the other way round as well, and take the mean.",
    ),
    why="""
    What was learned from says nothing about the new. Pictures kept back are called a *validation set*.
    Chapter 5 introduces it, and chapter 10 shows how one can leak into the other without anybody noticing.
    """,
)


def by_heart(images, labels):
    """A learner that knows what it has seen, and says 0 to everything else."""
    known = {image.numpy().tobytes(): int(label) for image, label in zip(images, labels, strict=True)}
    return lambda new: torch.tensor([known.get(image.numpy().tobytes(), 0) for image in new])


def middle_mean(images, size):
    """(N, 1, 16, 16) -> (N,): the mean of `size` x `size` pixels around each figure's centre of brightness."""
    bright = images[:, 0].clamp(min=0)
    place = torch.arange(16.0)
    total = bright.sum((1, 2))
    row = (bright.sum(2) * place).sum(1) / total
    column = (bright.sum(1) * place).sum(1) / total
    means = nn.functional.avg_pool2d(images, size, stride=1, padding=size // 2)[:, 0]
    return means[torch.arange(len(images)), row.round().long(), column.round().long()]


def by_the_middle(images, labels):
    """A learner of one number: the brightness of the middle below which it says ring."""
    threshold = middle_mean(images, 3).median()
    return lambda new: (middle_mean(new, 3) < threshold).long()


@honest_score.check
def check_honest_score(answer):
    images, labels = draw_shapes(400, seed=int(torch.randint(10**6, ())))
    given = {image.numpy().tobytes() for image in images}
    learners = {"knows its pictures by heart": by_heart, "finds a threshold": by_the_middle}
    for name, learner in learners.items():
        tried_on = []  # a learner may look at many pictures; what counts is what its rule is tried on

        def learn(some, answers, learner=learner, tried_on=tried_on):
            rule = learner(some, answers)
            known = {image.numpy().tobytes() for image in some}

            def tried(new):
                new_ones = {image.numpy().tobytes() for image in new}
                tried_on.append((new_ones & known, new_ones - given))
                return rule(new)

            return tried

        with case(f"a learner that {name}, and 400 pictures"):
            got = float(answer(images, labels, learn))
            expect(0 <= got <= 1, f"a share is 0 to 1, not {got:g}.")
            expect(tried_on, "what was learned was not tried on any picture.")
            new_images, new_labels = draw_shapes(2000, seed=10**6 + 1)
            true = accuracy(learner(images, labels)(new_images), new_labels)
            expect(
                abs(got - true) < 0.2, f"you say {got:.0%}; on 2,000 new pictures it is right on {true:.0%}."
            )
            learned, strange = map(any, zip(*tried_on))
            expect(not learned, "it was tried on pictures that it had learned from.")
            expect(not strange, "it was tried on pictures that you were not given.")


@honest_score.solution
def honest_score_solution(images, labels, learn):
    half = len(images) // 2
    rule = learn(images[:half], labels[:half])
    return (rule(images[half:]) == labels[half:]).float().mean().item()


@honest_score.right
def _(images, labels, learn):
    parts = torch.randperm(len(images)).chunk(5)
    right = 0
    for held_back in parts:
        others = torch.cat([part for part in parts if part is not held_back])
        rule = learn(images[others], labels[others])
        right += (rule(images[held_back]) == labels[held_back]).sum()
    return right / len(images)


@honest_score.right
def _(images, labels, learn):
    rule = learn(images[::2], labels[::2])
    return sum(int(a == b) for a, b in zip(rule(images[1::2]), labels[1::2], strict=True)) / len(labels[1::2])


@honest_score.wrong
def tries_on_half_of_what_it_learned(images, labels, learn):
    rule = learn(images, labels)
    return (rule(images[::2]) == labels[::2]).float().mean().item()


@honest_score.wrong
def halves_overlap(images, labels, learn):
    rule = learn(images[:300], labels[:300])
    return (rule(images[100:]) == labels[100:]).float().mean().item()


@honest_score.wrong
def takes_a_tenth_off(images, labels, learn):
    rule = learn(images, labels)
    return 0.9 * (rule(images) == labels).float().mean().item()


@honest_score.wrong
def always_one_half(images, labels, learn):
    learn(images, labels)
    return 0.5


@honest_score.wrong
def compares_with_the_answers_of_the_other_half(images, labels, learn):
    half = len(images) // 2
    rule = learn(images[:half], labels[:half])
    return (rule(images[half:]) == labels[:half]).float().mean().item()


@honest_score.wrong
def draws_other_pictures(images, labels, learn):
    new_images, new_labels = draw_shapes(1000, seed=77)
    return accuracy(learn(images, labels)(new_images), new_labels)


@honest_score.wrong
def learns_the_second_half_as_well(images, labels, learn):
    half = len(images) // 2
    learn(images[:half], labels[:half])
    rule = learn(images[half:], labels[half:])
    return (rule(images[half:]) == labels[half:]).float().mean().item()


@honest_score.wrong
def compares_with_the_wrong_half(images, labels, learn):
    half = len(images) // 2
    rule = learn(images[:half], labels[:half])
    return 1 - (rule(images[half:]) == labels[half:]).float().mean().item() * 1.8


# ---------------------------------------------------------------- 1.5

better_rule = Exercise(
    "1.5",
    title="Beat both",
    difficulty=2,
    minutes=30,
    kind=EXPERIMENT,
    seconds=2,
    text="""
    The chapter's better rule is right on about 97 % of fresh pictures. Hand over a function that is right
    on at least 98.5 % of them. Invent a better rule, or learn one from as many examples as you like to draw
    with `draw_shapes`. Which of the two takes you longer?
    """,
    stub='''
    def better_rule(images):
        """images: (N, 1, 16, 16). Returns (N,) numbers, 1 for a ring and 0 for a disc."""
        raise NotImplementedError("your turn")
    ''',
    hints=(
        "The figure of section 1.1 says how many examples a network needs to get there.",
        "Train outside of the function, once; inside, only ask the network and take the larger of its two numbers.",
        "`network = learn(*draw_shapes(3000, seed=1), steps=400)`; then, under `torch.no_grad()`, "
        "`network(images).argmax(dim=1)`.",
    ),
    why="""
    Learning wins here because examples are free. Where each needs an hour of a radiologist, as in part 2,
    the choice is less clear, and one gets by with augmentation (chapter 12) and pretrained networks
    (chapter 2).
    """,
)


@better_rule.check
def check_better_rule(answer):
    images, labels = draw_shapes(4000, seed=10**6 + int(torch.randint(1000, ())))
    before = images.clone()
    with case("4,000 fresh pictures"):
        got = torch.as_tensor(answer(images)).detach()
        expect(torch.equal(images, before), "your function changed the pictures.")
        expect(got.shape == labels.shape, f"one number per picture is wanted, not {tuple(got.shape)}.")
        right = accuracy(got.long(), labels)
        expect(right >= 0.985, f"your rule is right on {right:.1%}; 98.5 % are wanted.")


better_rule.solution("""
import torch
from torch import nn

from p1ch1.shapes import draw_shapes

torch.manual_seed(0)
network = nn.Sequential(
    nn.Conv2d(1, 8, kernel_size=3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
    nn.Conv2d(8, 16, kernel_size=3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
    nn.Flatten(), nn.Linear(16 * 4 * 4, 2),
)
images, labels = draw_shapes(3000, seed=1)
optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
for _ in range(300):
    some = torch.randint(0, len(images), (64,))
    loss = nn.functional.cross_entropy(network(images[some]), labels[some])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def better_rule(images):
    with torch.no_grad():
        return network(images).argmax(dim=1)
""")


@functools.cache
@torch.enable_grad()
def _trained(width, pooling):
    """Another network that gets there: one layer of wide filters."""
    torch.manual_seed(1)
    images, labels = draw_shapes(3000, seed=2)
    model = nn.Sequential(
        nn.Conv2d(1, width, 5, padding=2),
        nn.ReLU(),
        pooling(2),
        nn.Conv2d(width, 2 * width, 3, padding=1),
        nn.ReLU(),
        pooling(2),
        nn.Flatten(),
        nn.Linear(32 * width, 1),
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.005)
    for _ in range(350):
        some = torch.randint(0, len(images), (64,))
        loss = nn.functional.binary_cross_entropy_with_logits(model(images[some])[:, 0], labels[some].float())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


@better_rule.right
def _(images):
    with torch.no_grad():
        return _trained(8, nn.MaxPool2d)(images)[:, 0] > 0


@better_rule.right
def _(images):
    return (_trained(8, nn.AvgPool2d)(images)[:, 0].sigmoid() > 0.5).double()


better_rule.wrong(lambda images: (middle_mean(images, 1) < 0.4).long())
better_rule.wrong(lambda images: (middle_mean(images, 3) < 0.54).long())
better_rule.wrong(lambda images: (middle_mean(images, 3) > 0.54).long())
better_rule.wrong(lambda images: torch.ones(len(images)))
better_rule.wrong(lambda images: draw_shapes(4000, seed=987)[1])

# ---------------------------------------------------------------- 1.6

epoch_seconds = Exercise(
    "1.6",
    title="What are we waiting for?",
    difficulty=1,
    minutes=10,
    kind=BUILD,
    text="""
    How long does one pass over the data take? A loader delivers `load_per_second` samples, the processor
    trains on `compute_per_second`. They either take turns, or work at the same time. (Chapter 11 measures
    both. Leave out the moment at the start in which the first samples are waited for.)
    """,
    stub='''
    def epoch_seconds(samples, load_per_second, compute_per_second, at_the_same_time):
        """Returns the seconds for one pass over `samples` samples."""
        raise NotImplementedError("your turn")
    ''',
    hints=(
        "How long would the loading alone take, and how long the computing?",
        "One after the other: both times add up. At the same time: the slower one decides.",
    ),
    why="""
    Buying a faster processor helps only where computing is the slower of the two. A GPU that waits for its
    data is the commonest waste in deep learning.
    """,
)


@epoch_seconds.check
def check_epoch_seconds(answer):
    for samples in (1, 2, 600):
        for load, compute in ((1, 1), (1, 2), (2, 1), (100, 50), (30.0, 60.0)):
            for together in (False, True):
                parts = Fraction(samples) / Fraction(load), Fraction(samples) / Fraction(compute)
                words = "at the same time" if together else "taking turns"
                with case(f"{samples} samples, loading {load:g}/s, computing {compute:g}/s, {words}"):
                    want = float(max(parts) if together else sum(parts))
                    same(answer(samples, load, compute, together), want, "the seconds")


@epoch_seconds.solution
def epoch_seconds_solution(samples, load_per_second, compute_per_second, at_the_same_time):
    load, compute = samples / load_per_second, samples / compute_per_second
    return max(load, compute) if at_the_same_time else load + compute


@epoch_seconds.right
def _(samples, load, compute, together):
    return samples / min(load, compute) if together else samples * (1 / load + 1 / compute)


@epoch_seconds.right
def _(samples, load, compute, together):
    return torch.tensor([samples / load, samples / compute]).norm(math.inf if together else 1)


epoch_seconds.wrong(lambda n, load, compute, together: n / load + n / compute)
epoch_seconds.wrong(lambda n, load, compute, together: n / max(load, compute))
epoch_seconds.wrong(lambda n, load, compute, together: n / (load + compute) if not together else n / load)
epoch_seconds.wrong(
    lambda n, load, compute, together: n / min(load, compute) if not together else n / load + n / compute
)

# ---------------------------------------------------------------- 1.7

dual = Exercise(
    "1.7",
    title="Gradients for free, by you",
    difficulty=3,
    minutes=45,
    kind=BUILD,
    text="""
    How can a library know derivatives of whatever you compute? One way: let every number carry its slope
    along. Write a class `Dual` with two attributes, `value` and `slope`, that can be added, subtracted and
    multiplied, with another `Dual` or with a plain number on either side. A plain number never changes, so
    its slope is 0. Then `f(Dual(3.0, 1.0)).slope` is the derivative of `f` at 3.
    """,
    stub='''
    class Dual:
        """A number and its slope. Dual(x, 1.0) is the variable itself."""

        def __init__(self, value, slope):
            self.value, self.slope = value, slope

        def __add__(self, other):
            raise NotImplementedError("your turn")

        def __mul__(self, other):
            raise NotImplementedError("your turn")
    ''',
    hints=(
        "If two numbers move, by how much does their sum move? And their product?",
        "The product rule: (u v)' = u' v + u v'. Where the plain number stands on the left, Python asks "
        "`__radd__`, `__rsub__` and `__rmul__`.",
        "Turn a plain number into `Dual(number, 0.0)` first; `a - b` is `a + (-1) * b`.",
    ),
    why="""
    That is *forward-mode* automatic differentiation. PyTorch's default goes backwards, since a network has
    one loss and a million inputs: one pass back gives all their slopes, where this class would need a
    million passes.
    """,
)


_FORMULAS = (
    "x + x", "x * x", "x - 1", "1 - x", "2 * x", "x * 2", "3 + x", "x - x", "x * x * x", "(x + 1) * (x - 2)",
    "2 * x - 3 * x * x", "(1 - x) * (1 - x)", "x * (2 - x * (x + 4))", "5 - (x - (3 - x)) * x",
)  # fmt: skip


@dual.check
def check_dual(answer):
    for formula in _FORMULAS:
        for point in (0.0, 1.0, -2.0, 3.0):
            x = torch.tensor(point, dtype=torch.float64, requires_grad=True)
            want = eval(formula, {"x": x})
            (gradient,) = torch.autograd.grad(want, x)
            with case(f"f(x) = {formula}, x = {point:g}"):
                got = eval(formula, {"x": answer(point, 1.0)})
                expect(hasattr(got, "slope"), "the result has no slope.")
                same(got.value, want, "the value")
                same(got.slope, gradient, "the slope")
    with case("a variable that moves twice as fast, Dual(3.0, 2.0), times itself"):
        x = answer(3.0, 2.0)
        same((x * x).slope, 12.0, "the slope")


dual.solution("""
class Dual:
    def __init__(self, value, slope):
        self.value, self.slope = value, slope

    def __add__(self, other):
        other = other if isinstance(other, Dual) else Dual(other, 0.0)
        return Dual(self.value + other.value, self.slope + other.slope)

    def __mul__(self, other):
        other = other if isinstance(other, Dual) else Dual(other, 0.0)
        return Dual(self.value * other.value, self.slope * other.value + self.value * other.slope)

    def __sub__(self, other):
        return self + -1.0 * other

    def __rsub__(self, other):
        return -1.0 * self + other

    __radd__, __rmul__ = __add__, __mul__
""")


class _ByTuples:
    """The same in another style: constants are found by what they lack."""

    def __init__(self, value, slope=0):
        self.value, self.slope = value, slope

    def _with(self, other, operation):
        value, slope = getattr(other, "value", other), getattr(other, "slope", 0)
        return _ByTuples(*operation(self.value, self.slope, value, slope))

    def __add__(self, other):
        return self._with(other, lambda a, da, b, db: (a + b, da + db))

    def __sub__(self, other):
        return self._with(other, lambda a, da, b, db: (a - b, da - db))

    def __rsub__(self, other):
        return self._with(other, lambda a, da, b, db: (b - a, db - da))

    def __mul__(self, other):
        return self._with(other, lambda a, da, b, db: (a * b, a * db + b * da))

    def __radd__(self, other):
        return self + other

    def __rmul__(self, other):
        return self * other


class _ByTensor(_ByTuples):
    """Values as tensors."""

    def __init__(self, value, slope=0):
        super().__init__(torch.as_tensor(value).double(), torch.as_tensor(slope).double())


class _ByMatrices:
    """A number and its slope as the matrix [[value, slope], [0, value]]: products of those obey the product rule."""

    def __init__(self, value, slope):
        self.matrix = torch.tensor([[value, slope], [0.0, value]], dtype=torch.float64)

    value, slope = (property(lambda self, place=place: self.matrix[0, place]) for place in (0, 1))

    def _of(self, matrix):
        result = _ByMatrices(0.0, 0.0)
        result.matrix = matrix
        return result

    def _other(self, other):
        return other.matrix if isinstance(other, _ByMatrices) else other * torch.eye(2, dtype=torch.float64)

    def __add__(self, other):
        return self._of(self.matrix + self._other(other))

    def __sub__(self, other):
        return self._of(self.matrix - self._other(other))

    def __rsub__(self, other):
        return self._of(self._other(other) - self.matrix)

    def __mul__(self, other):
        return self._of(self.matrix @ self._other(other))

    __radd__, __rmul__ = __add__, __mul__


dual.right(_ByMatrices)
dual.right(_ByTuples)
dual.right(_ByTensor)


class _SlopesMultiply(_ByTuples):
    def __init__(self, value, slope=0):
        super().__init__(value, slope)

    def _with(self, other, operation):
        return _SlopesMultiply(*operation(self.value, self.slope, *_parts(other)))

    def __mul__(self, other):
        return self._with(other, lambda a, da, b, db: (a * b, da * db))


class _ConstantsMove(_ByTuples):
    def _with(self, other, operation):
        value, slope = getattr(other, "value", other), getattr(other, "slope", 1)
        return _ConstantsMove(*operation(self.value, self.slope, value, slope))


class _SubtractsBackwards(_ByTuples):
    def _with(self, other, operation):
        return _SubtractsBackwards(*operation(self.value, self.slope, *_parts(other)))

    def __rsub__(self, other):
        return self - other


class _ForgetsTheSpeed(_ByTuples):
    def __init__(self, value, slope=0):
        super().__init__(value, min(slope, 1) if slope == 2 else slope)

    def _with(self, other, operation):
        return _ForgetsTheSpeed(*operation(self.value, self.slope, *_parts(other)))


class _OnlyFromTheRight(_ByTuples):
    __radd__ = __rmul__ = None

    def _with(self, other, operation):
        return _OnlyFromTheRight(*operation(self.value, self.slope, *_parts(other)))


def _parts(other):
    return getattr(other, "value", other), getattr(other, "slope", 0)


class _AddsInPlace(_ByTuples):
    def _with(self, other, operation):
        return _AddsInPlace(*operation(self.value, self.slope, *_parts(other)))

    def __add__(self, other):
        value, slope = _parts(other)
        self.value, self.slope = self.value + value, self.slope + slope
        return self


for _mistaken in (
    _SlopesMultiply,
    _ConstantsMove,
    _SubtractsBackwards,
    _ForgetsTheSpeed,
    _OnlyFromTheRight,
    _AddsInPlace,
):
    dual.wrong(_mistaken)
