"""Chapter 6's exercises: each with its text, stub, hints, check, solution and wrong answers."""

import torch
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

# ---------------------------------------------------------------- 6.1

sizes = Exercise(
    "6.1",
    title="Shapes and numbers",
    difficulty=1,
    minutes=10,
    kind=PREDICT,
    text="""
    What does each of these expressions give? Predict all eight before you run one: a number, or a shape as
    a tuple.
    """,
    stub="""
    gives = {
        "nn.Linear(3, 4)(torch.zeros(5, 3)).shape": ...,
        "nn.Linear(3, 4).weight.shape": ...,
        "nn.Linear(3, 4)(torch.zeros(7, 1, 3)).shape": ...,
        "nn.Linear(3, 4)(torch.zeros(3)).shape": ...,
        "nn.Tanh()(torch.zeros(5, 3)).shape": ...,
        "sum(p.numel() for p in nn.Linear(3, 4).parameters())": ...,
        "len(list(nn.Sequential(nn.Linear(1, 9), nn.Tanh(), nn.Linear(9, 1)).parameters()))": ...,
        "sum(p.numel() for p in nn.Sequential(nn.Linear(2, 9), nn.ReLU(), nn.Linear(9, 3)).parameters())": ...,
    }
    """,
    hints=(
        "Which axis does a linear layer look at, and what does it do with all the others?",
        "The last axis holds the features; everything before it is batch. The weight has one row per output.",
        "A layer from n to m has n · m weights and m biases, as two parameters. Activations have none.",
    ),
    why="""
    A layer computes `x @ weight.T + bias`, so the weight is stored as outputs × inputs, and a batch may
    have any number of axes, even none. Tanh and ReLU have nothing to learn: `parameters()` lists two
    tensors for each linear layer, 2 · 9 + 9 + 9 · 3 + 3 = 57 numbers in the last line.
    """,
)


@sizes.check
def check_sizes(prediction):
    names = {"torch": torch, "nn": nn}
    predicted(prediction, {key: tuple_or_number(eval(key, names)) for key in sizes.stub_keys})


def tuple_or_number(value):
    return tuple(value) if isinstance(value, torch.Size) else value


sizes.solution("""
gives = {
    "nn.Linear(3, 4)(torch.zeros(5, 3)).shape": (5, 4),
    "nn.Linear(3, 4).weight.shape": (4, 3),
    "nn.Linear(3, 4)(torch.zeros(7, 1, 3)).shape": (7, 1, 4),
    "nn.Linear(3, 4)(torch.zeros(3)).shape": (4,),
    "nn.Tanh()(torch.zeros(5, 3)).shape": (5, 3),
    "sum(p.numel() for p in nn.Linear(3, 4).parameters())": 16,
    "len(list(nn.Sequential(nn.Linear(1, 9), nn.Tanh(), nn.Linear(9, 1)).parameters()))": 4,
    "sum(p.numel() for p in nn.Sequential(nn.Linear(2, 9), nn.ReLU(), nn.Linear(9, 3)).parameters())": 57,
}
""")
_GIVES = dict(zip(sizes.stub_keys, ((5, 4), (4, 3), (7, 1, 4), (4,), (5, 3), 16, 4, 57)))
sizes.right({key: torch.Size(v) if isinstance(v, tuple) else float(v) for key, v in _GIVES.items()})
sizes.right({key: list(v) if isinstance(v, tuple) else torch.tensor(v) for key, v in _GIVES.items()})
sizes.wrong({**_GIVES, "nn.Linear(3, 4).weight.shape": (3, 4)})
sizes.wrong({**_GIVES, "nn.Linear(3, 4)(torch.zeros(3)).shape": (1, 4)})
sizes.wrong({**_GIVES, "sum(p.numel() for p in nn.Linear(3, 4).parameters())": 12})
sizes.wrong({**_GIVES, sizes.stub_keys[6]: 3})
sizes.wrong({**_GIVES, sizes.stub_keys[7]: 45})

# ---------------------------------------------------------------- 6.2

forgotten = Exercise(
    "6.2",
    title="The network that cannot learn",
    difficulty=1,
    minutes=10,
    kind=BUG,
    text="""
    A network with any number of layers: `Deep((1, 5, 3, 1))` should have two hidden layers of 5 and 3 tanh
    neurons. It answers, and it is as good as its random weights, for ever: an optimizer that is given
    `Deep(sizes).parameters()` even complains. Find out what it is given, and mend the class.
    """,
    stub="""
    class Deep(nn.Module):
        def __init__(self, sizes):
            super().__init__()
            self.layers = [nn.Linear(n, m) for n, m in zip(sizes, sizes[1:])]

        def forward(self, x):
            for layer in self.layers[:-1]:
                x = torch.tanh(layer(x))
            return self.layers[-1](x)
    """,
    hints=(
        "Look at `list(Deep((1, 5, 3, 1)).parameters())`.",
        "A module finds modules and parameters that are its attributes. It does not look into Python lists.",
        "There is a list for modules, in `torch.nn`, and its name says so.",
    ),
    why="""
    `nn.Module` notices assignments: what is a module or a parameter is registered, everything else is just
    an attribute. A plain list hides the layers from `parameters()`, from `state_dict()` and from
    `.to(device)`. `nn.ModuleList` is a list that a module can see into.
    """,
)


@forgotten.check
def check_forgotten(answer):
    for layers in ((1, 1), (1, 2, 1), (2, 3, 1), (1, 5, 3, 1), (2, 7, 5, 4, 3)):
        with case(f"sizes = {layers}"):
            model = answer(layers)
            expect(isinstance(model, nn.Module), "it should be an nn.Module.")
            shapes = {tuple(p.shape): p for p in model.parameters()}
            want = sum(n * m + m for n, m in zip(layers, layers[1:]))
            got = sum(p.numel() for p in model.parameters())
            expect(got == want, f"parameters() finds {got} numbers; the layers have {want}.")
            saved = sum(tensor.numel() for tensor in model.state_dict().values())
            expect(saved == want, f"state_dict() holds {saved} numbers; the layers have {want}.")
            x = torch.randint(-3, 4, (4, layers[0])).float()
            right = x
            with torch.no_grad():
                for n, m in zip(layers, layers[1:]):
                    right = right if right is x else right.tanh()
                    # A layer is found by its shape, whatever the order in which it was declared.
                    weights = [shapes.get((m, n)), shapes.get((m,))]
                    expect(None not in weights, f"no layer from {n} to {m} is registered.")
                    right = nn.functional.linear(right, *weights)
            same(model(x), right, "what the network answers with its weights")


class Deep(nn.Module):
    def __init__(self, sizes):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(n, m) for n, m in zip(sizes, sizes[1:]))

    def forward(self, x):
        for layer in self.layers[:-1]:
            x = torch.tanh(layer(x))
        return self.layers[-1](x)


forgotten.solution(Deep)


@forgotten.right
def as_a_sequence(sizes):
    layers = []
    for n, m in zip(sizes, sizes[1:]):
        layers += [nn.Linear(n, m), nn.Tanh()]
    return nn.Sequential(*layers[:-1])


@forgotten.right
class OutputLayerFirst(nn.Module):
    def __init__(self, sizes):
        super().__init__()
        self.output = nn.Linear(sizes[-2], sizes[-1])
        for place, (n, m) in enumerate(zip(sizes[:-1], sizes[1:-1])):
            self.add_module(f"hidden{place}", nn.Linear(n, m))

    def forward(self, x):
        for name, layer in self.named_children():
            if name != "output":
                x = layer(x).tanh()
        return self.output(x)


@forgotten.wrong
class WithoutActivation(Deep):
    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


@forgotten.wrong
class ActivationAfterTheLast(Deep):
    def forward(self, x):
        return super().forward(x).tanh()


@forgotten.wrong
class OnlyTheLastIsSeen(nn.Module):
    def __init__(self, sizes):
        super().__init__()
        self.layers = [nn.Linear(n, m) for n, m in zip(sizes, sizes[1:])]
        self.last = self.layers[-1]

    def forward(self, x):
        for layer in self.layers[:-1]:
            x = torch.tanh(layer(x))
        return self.last(x)


@forgotten.wrong
class HandsOutParametersThatItDoesNotSave(nn.Module):
    def __init__(self, sizes):
        super().__init__()
        self.layers = [nn.Linear(n, m) for n, m in zip(sizes, sizes[1:])]

    def parameters(self, recurse=True):
        return (p for layer in self.layers for p in layer.parameters())

    forward = Deep.forward


@forgotten.wrong
def the_network_of_the_chapter(sizes):
    return nn.Sequential(nn.Linear(1, 13), nn.Tanh(), nn.Linear(13, 1))


@forgotten.wrong
class ActivationBeforeEveryLayer(Deep):
    def forward(self, x):
        for layer in self.layers:
            x = layer(x.tanh())
        return x


@forgotten.wrong
class WithRectifiers(Deep):
    def forward(self, x):
        for layer in self.layers[:-1]:
            x = torch.relu(layer(x))
        return self.layers[-1](x)


# ---------------------------------------------------------------- 6.3

collapsed = Exercise(
    "6.3",
    title="Two layers that are one",
    difficulty=2,
    minutes=20,
    kind=BUILD,
    text="""
    Two linear layers without an activation between them are one. Return that one, as an `nn.Linear`, for
    any sizes. A layer may have been made with `bias=False`.
    """,
    stub='''
    def collapse(first, second):
        """first, second: nn.Linear, as in second(first(x)). Returns one nn.Linear with the same answers."""
        raise NotImplementedError("your turn")
    ''',
    hints=(
        "Write down what the two compute together: W2 (W1 x + b1) + b2. Multiply out.",
        "The new weight is a product of matrices, the new bias what is left when x is zero. Mind the "
        "order: weights have the shape (outputs, inputs).",
        "Weight: `second.weight @ first.weight`. Bias: what `second` answers to what `first` answers to "
        "zeros. Copy both under `torch.no_grad()`.",
    ),
    why="""
    However many linear layers one stacks, the whole is linear. Only the bend between them makes depth worth
    anything. The bias needs no formula: it is the answer to an input of zeros.
    """,
)


@collapsed.check
def check_collapsed(answer):
    for n, hidden, m in ((1, 1, 1), (1, 2, 1), (2, 1, 1), (1, 1, 2), (2, 3, 4), (3, 7, 2)):
        for biases in ((False, False), (True, False), (False, True), (True, True)):
            first, second = nn.Linear(n, hidden, biases[0]), nn.Linear(hidden, m, biases[1])
            with torch.no_grad():
                for parameter in (*first.parameters(), *second.parameters()):
                    parameter.copy_(torch.randint(2, 5, parameter.shape))
            x = torch.cat([torch.zeros(1, n), torch.randint(-2, 3, (3, n)).float()])
            want = second(first(x))
            words = f"layers from {n} to {hidden} to {m}, with bias: {biases[0]}, {biases[1]}"
            with case(words, x=x):
                one = answer(first, second)
                expect(isinstance(one, nn.Linear), "return one nn.Linear.")
                expect(
                    tuple(one.weight.shape) == (m, n),
                    f"its weight should have the shape {(m, n)}, not {tuple(one.weight.shape)}.",
                )
                same(second(first(x)), want, "what the two layers answer afterwards")
                same(one(x), want, "what the one layer answers")
                own = nn.functional.linear(x, one.weight, one.bias)
                same(own, want, "what the weight and bias of the one layer answer")


@collapsed.solution
def collapse(first, second):
    one = nn.Linear(first.in_features, second.out_features)
    with torch.no_grad():
        one.weight.copy_(second.weight @ first.weight)
        one.bias.copy_(second(first(torch.zeros(first.in_features))))
    return one


@collapsed.right
def with_bias_only_where_there_is_one(first, second):
    bias = 0 if second.bias is None else second.bias
    bias = bias + (0 if first.bias is None else second.weight @ first.bias)
    one = nn.Linear(first.in_features, second.out_features, bias=isinstance(bias, torch.Tensor))
    one.weight = nn.Parameter((second.weight @ first.weight).detach())
    if one.bias is not None:
        one.bias = nn.Parameter(bias.detach())
    return one


@collapsed.right
def by_asking(first, second):
    eye = torch.eye(first.in_features)
    offset = second(first(torch.zeros_like(eye)))
    one = nn.Linear(first.in_features, second.out_features)
    one.load_state_dict({"weight": (second(first(eye)) - offset).T.detach(), "bias": offset[0].detach()})
    return one


def _with(weight, bias):
    one = nn.Linear(weight.shape[1], weight.shape[0])
    with torch.no_grad():
        one.weight.copy_(weight)
        one.bias.copy_(bias)
    return one


@collapsed.right
def by_derivative(first, second):
    zeros = torch.zeros(first.in_features)
    one = nn.Linear(first.in_features, second.out_features)
    one.weight = nn.Parameter(torch.func.jacrev(lambda x: second(first(x)))(zeros).detach())
    one.bias = nn.Parameter(second(first(zeros)).detach())
    return one


@collapsed.wrong
def forgets_the_first_bias(first, second):
    return _with(second.weight @ first.weight, 0 if second.bias is None else second.bias)


@collapsed.wrong
def adds_the_biases(first, second):
    bias = second(torch.zeros(second.in_features)) + first(torch.zeros(first.in_features)).sum()
    return _with(second.weight @ first.weight, bias)


@collapsed.wrong
def wrong_order(first, second):
    return _with(first.weight @ second.weight, 0)


@collapsed.wrong
def stacks_them(first, second):
    return nn.Sequential(first, second)


@collapsed.wrong
class LinearByNameOnly(nn.Linear):
    def __init__(self, first, second):
        super().__init__(first.in_features, second.out_features)
        self.both = lambda x: second(first(x))

    def forward(self, x):
        return self.both(x)


@collapsed.wrong
def needs_both_biases(first, second):
    return _with(second.weight @ first.weight, second.weight @ first.bias + second.bias)


@collapsed.wrong
def spoils_the_second(first, second):
    with torch.no_grad():
        bias = second(first(torch.zeros(first.in_features)))
        if second.bias is not None:
            second.bias.copy_(bias)
    return _with(second.weight @ first.weight, bias)


# ---------------------------------------------------------------- 6.4

kinked = Exercise(
    "6.4",
    title="Where are the kinks?",
    difficulty=2,
    minutes=20,
    kind=BUILD,
    text="""
    A network `nn.Sequential(nn.Linear(1, n), nn.ReLU(), nn.Linear(n, 1))` draws a line with kinks. Read
    from its weights where: return the x of all kinks, in rising order. Not every neuron makes one, and no
    two of the check's neurons have theirs at the same x.
    """,
    stub='''
    def kinks(network):
        """network: nn.Sequential(nn.Linear(1, n), nn.ReLU(), nn.Linear(n, 1)). Returns the kinks' x, rising."""
        raise NotImplementedError("your turn")
    ''',
    hints=(
        "Where does a single ReLU neuron bend? What is its input there?",
        "A neuron bends where weight · x + bias = 0. Two kinds of neurons never bend, or bend unseen.",
        "x = -bias / weight, for neurons whose own weight is not zero and to which the output layer gives "
        "a weight that is not zero.",
    ),
    why="""
    With n neurons there are at most n kinks, so at most n + 1 straight pieces. Training moves kinks to
    where the data bend. That is all that such a network can do with one input, and it is enough for any
    curve, if n is large enough.
    """,
)


def _rectifiers(weight, bias, out):
    network = nn.Sequential(nn.Linear(1, len(weight)), nn.ReLU(), nn.Linear(len(weight), 1))
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor(weight)[:, None])
        network[0].bias.copy_(torch.tensor(bias))
        network[2].weight.copy_(torch.tensor(out)[None])
    return network


@kinked.check
def check_kinked(answer):
    networks = [
        ([1.0], [0.0], [1.0]),
        ([1.0], [-2.0], [1.0]),
        ([2.0], [-2.0], [1.0]),
        ([-1.0], [3.0], [1.0]),
        ([1.0], [1.0], [0.0]),
        ([0.0], [1.0], [1.0]),
        ([0.0], [0.0], [1.0]),
        ([1.0, 1.0], [-3.0, 1.0], [1.0, 1.0]),
        ([1.0, -1.0, 0.0, 2.0], [-2.0, -1.0, 1.0, 1.0], [1.0, -1.0, 1.0, 0.0]),
    ]
    networks += [tuple(torch.randn(3, n).tolist()) for n in (5, 13)]
    for weight, bias, out in networks:
        places = sorted(-b / w for w, b, o in zip(weight, bias, out) if w != 0 and o != 0)
        with case(
            f"neurons with weights {_short(weight)}, biases {_short(bias)}, output weights {_short(out)}"
        ):
            got = as_tensor(answer(_rectifiers(weight, bias, out)))
            expect(got.numel() == len(places), f"there are {len(places)} kinks; you got {got.numel()}.")
            same(got.flatten(), places, "the kinks", atol=1e-3)


def _short(numbers):
    return "[" + ", ".join(f"{number:.3g}" for number in numbers) + "]"


@kinked.solution
def kinks(network):
    weight, bias, out = network[0].weight[:, 0], network[0].bias, network[2].weight[0]
    bends = (weight != 0) & (out != 0)
    return (-bias[bends] / weight[bends]).sort().values


@kinked.right
def with_a_loop_over_neurons(network):
    places = []
    for w, b, o in zip(network[0].weight.tolist(), network[0].bias.tolist(), network[2].weight[0].tolist()):
        if w[0] and o:
            places.append(-b / w[0])
    return sorted(places)


@kinked.right
def as_a_column_in_numpy(network):
    w, b = network[0].weight.detach().numpy(), network[0].bias.detach().numpy()[:, None]
    seen = (network[2].weight.detach().numpy().T * w) != 0
    return sorted((-b[seen] / w[seen]).tolist())


@kinked.wrong
def without_the_minus(network):
    weight, bias, out = network[0].weight[:, 0], network[0].bias, network[2].weight[0]
    bends = (weight != 0) & (out != 0)
    return (bias[bends] / weight[bends]).sort().values


@kinked.wrong
def on_the_right_side_always(network):
    weight, bias, out = network[0].weight[:, 0], network[0].bias, network[2].weight[0]
    bends = (weight != 0) & (out != 0)
    return (-bias[bends] / weight[bends].abs()).sort().values


@kinked.wrong
def unsorted(network):
    weight, bias, out = network[0].weight[:, 0], network[0].bias, network[2].weight[0]
    bends = (weight != 0) & (out != 0)
    return -bias[bends] / weight[bends]


@kinked.wrong
def with_kinks_that_nobody_sees(network):
    weight, bias = network[0].weight[:, 0], network[0].bias
    return (-bias[weight != 0] / weight[weight != 0]).sort().values


@kinked.wrong
def divides_by_zero(network):
    weight, bias, out = network[0].weight[:, 0], network[0].bias, network[2].weight[0]
    return (-bias[out != 0] / weight[out != 0]).sort().values


@kinked.wrong
def takes_the_bias_alone(network):
    return (-network[0].bias).sort().values


# ---------------------------------------------------------------- 6.5

hill = Exercise(
    "6.5",
    title="A hill, by hand",
    difficulty=3,
    minutes=30,
    kind=BUILD,
    text="""
    Two tanh neurons are enough to answer about 1 between `low` and `high` and about 0 elsewhere. Set the
    weights by hand, without training: return `nn.Sequential(nn.Linear(1, 2), nn.Tanh(), nn.Linear(2, 1))`
    that is within 0.1 of 1 inside and within 0.1 of 0 outside; the slopes may reach 0.3 to either side of
    `low` and of `high`, which lie at least 1 apart.
    """,
    stub='''
    def bump(low, high):
        """Returns nn.Sequential(nn.Linear(1, 2), nn.Tanh(), nn.Linear(2, 1))."""
        raise NotImplementedError("your turn")
    ''',
    hints=(
        "Draw tanh(20 · x), tanh(20 · (x - 2)), and half their difference.",
        "One neuron steps up at `low`, the other at `high`. Weighed with opposite signs, they cancel "
        "outside.",
        "Weights 20 and 20, biases -20 · low and -20 · high, output weights 0.5 and -0.5, output bias 0.",
    ),
    why="""
    tanh(20 (x - low)) goes from -1 to 1 at low. Half the difference of two such steps is 1 between them and
    0 outside. Put many hills of different heights side by side and you have any curve: a network with one
    hidden layer can approximate whatever it is asked to. Whether training finds it is another question.
    """,
)


@hill.check
def check_hill(answer):
    x = torch.linspace(-10, 10, 401)[:, None]
    for low, high in ((0.0, 1.0), (-1.0, 1.0), (2.0, 5.0), (-7.5, -5.0), (-8.0, 8.0)):
        with case(f"low = {low:g}, high = {high:g}"), torch.no_grad():
            model = answer(low, high)
            expect(isinstance(model, nn.Module), "return a network, an nn.Module.")
            parameters = {tuple(p.shape): p for p in model.parameters()}
            expect(
                set(parameters) == {(2, 1), (2,), (1, 2), (1,)} and len(list(model.parameters())) == 4,
                f"two tanh neurons have 7 parameters; these have the shapes {sorted(parameters)}.",
            )
            y = model(x)
            expect(isinstance(y, torch.Tensor) and y.shape == (401, 1), "it should map (N, 1) to (N, 1).")
            hidden = torch.tanh(x @ parameters[2, 1].T + parameters[2,])
            own = hidden @ parameters[1, 2].T + parameters[1,]
            expect(torch.allclose(own, y, atol=1e-3), "the answers are not those of its two tanh neurons.")
            inside = (x > low + 0.3) & (x < high - 0.3)
            outside = (x < low - 0.3) | (x > high + 0.3)
            wanted = ((x >= low) & (x <= high)).float()
            picture = Picture(None, wanted[:, 0], y[:, 0], x=x[:, 0])
            for where, ok, words in (
                (inside, (y - 1).abs() < 0.1, "within 0.1 of 1"),
                (outside, y.abs() < 0.1, "within 0.1 of 0"),
            ):
                off = where & ~ok
                if off.any():
                    place = off.nonzero()[0, 0]
                    expect(
                        False,
                        f"at x = {x[place].item():.3g} it should be {words}; it is {y[place].item():.3g}.",
                        picture,
                    )


@hill.solution
def bump(low, high):
    model = nn.Sequential(nn.Linear(1, 2), nn.Tanh(), nn.Linear(2, 1))
    steep = 20.0
    with torch.no_grad():
        model[0].weight[:] = steep
        model[0].bias[:] = -steep * torch.tensor([low, high])
        model[2].weight[:] = torch.tensor([[0.5, -0.5]])
        model[2].bias[:] = 0
    return model


@hill.right
class TwoSteps(nn.Module):
    """The other way round, as a class: one step down at high, one up at low, and a bias."""

    def __init__(self, low, high):
        super().__init__()
        self.output_linear = nn.Linear(2, 1)
        self.hidden_linear = nn.Linear(1, 2)
        self.load_state_dict(
            {
                "hidden_linear.weight": torch.tensor([[-30.0], [30.0]]),
                "hidden_linear.bias": torch.tensor([30.0 * high, -30.0 * low]),
                "output_linear.weight": torch.tensor([[0.5, 0.5]]),
                "output_linear.bias": torch.zeros(1),
            }
        )

    def forward(self, x):
        return self.output_linear(torch.tanh(self.hidden_linear(x)))


@hill.right
def by_state_dict(low, high):
    model = nn.Sequential(nn.Linear(1, 2), nn.Tanh(), nn.Linear(2, 1))
    numbers = [[[9.0], [-9.0]], [-9.0 * low, 9.0 * high], [[0.5, 0.5]], [0.0]]
    model.load_state_dict({n: torch.tensor(v) for n, v in zip(model.state_dict(), numbers)})
    return model


@hill.wrong
def without_a_network(low, high):
    return lambda x: ((x >= low) & (x <= high)).float()


@hill.wrong
class ModuleThatDoesNotUseItsNeurons(nn.Module):
    def __init__(self, low, high):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(1, 2), nn.Tanh(), nn.Linear(2, 1))
        self.low, self.high = low, high

    def forward(self, x):
        return ((x >= self.low) & (x <= self.high)).float()


@hill.wrong
def untrained(low, high):
    return nn.Sequential(nn.Linear(1, 2), nn.Tanh(), nn.Linear(2, 1))


def _hill(steep, low, high, out, bias=0.0):
    model = nn.Sequential(nn.Linear(1, 2), nn.Tanh(), nn.Linear(2, 1))
    with torch.no_grad():
        model[0].weight[:] = steep
        model[0].bias[:] = -steep * torch.tensor([low, high])
        model[2].weight[:] = torch.tensor([out])
        model[2].bias[:] = bias
    return model


@hill.wrong
def too_gentle(low, high):
    return _hill(2.0, low, high, [0.5, -0.5])


@hill.wrong
def twice_as_high(low, high):
    return _hill(20.0, low, high, [1.0, -1.0])


@hill.wrong
def a_valley(low, high):
    return _hill(20.0, low, high, [-0.5, 0.5], 1.0)


@hill.wrong
def half_a_unit_too_wide(low, high):
    return _hill(20.0, low - 0.5, high + 0.5, [0.5, -0.5])


@hill.wrong
def a_step(low, high):
    return _hill(20.0, low, high, [0.5, 0.0], 0.5)


@hill.wrong
def the_hill_from_zero_to_one(low, high):
    return _hill(20.0, 0.0, 1.0, [0.5, -0.5])


@hill.wrong
def with_four_neurons(low, high):
    return nn.Sequential(nn.Linear(1, 4), nn.Tanh(), nn.Linear(4, 1))


# ---------------------------------------------------------------- 6.6

tame = Exercise(
    "6.6",
    title="A network that does not learn by heart",
    difficulty=2,
    minutes=40,
    kind=EXPERIMENT,
    seconds=4,
    text="""
    Fifteen noisy readings of a curve that is no line. Thirteen tanh neurons that are trained until their
    loss stands still follow the noise; a line cannot follow the curve. `fit(inputs, truth)` gets the
    readings, both (15, 1), and returns a network of your making that is closer to the true curve than
    either. The check calls it for six sets of readings and compares it with curves that you cannot see.
    Stopping early, weight decay, fewer neurons are all worth a try; a small validation set of your own
    shows what helps.
    """,
    stub='''
    def fit(inputs, truth):
        """inputs, truth: (15, 1). Returns a trained network, (N, 1) -> (N, 1)."""
        raise NotImplementedError("your turn")
    ''',
    hints=(
        "Plot what an overfitted network draws between the readings. What would make it calmer?",
        "Hold three readings out, and watch their loss: after how many epochs is it lowest? Or punish "
        "large weights.",
        "AdamW with `weight_decay=1` and a rate of 0.03 for 800 epochs is one way, 120 epochs of Adam at "
        "0.01 another, two or three neurons a third.",
    ),
    why="""
    All three cures do the same thing: they keep weights small, so that the curve cannot bend sharply
    between readings. How much of it is right cannot be read from the training loss, which every cure makes
    worse. Only readings that were held out can tell, or a curve that one knows, as this check does.
    """,
)


def _curve(x):
    return 1.5 * torch.tanh(3 * x)


@tame.check
def check_tame(answer):
    grid = torch.linspace(-1.9, 1.9, 191)[:, None]
    line = torch.cat([grid, torch.ones_like(grid)], dim=1)
    errors, of_lines = [], []
    # Sets on which a network that learns by heart is sure to be caught.
    for number, seed in enumerate((1, 2, 4, 5, 6, 11), 1):
        generator = torch.Generator().manual_seed(seed)
        x = torch.rand(15, 1, generator=generator) * 4 - 2
        y = _curve(x) + 0.45 * torch.randn(15, 1, generator=generator)
        with case(f"set {number} of the readings"):
            model = answer(x.clone(), y.clone())
            expect(callable(model), "return a network.")
            with torch.no_grad():
                got = as_tensor(model(grid))
            expect(got.shape == grid.shape, f"it should map (191, 1) to (191, 1), not to {tuple(got.shape)}.")
            expect(bool(torch.isfinite(got).all()), "the network answers nan or infinity.")
            bend = got - line.double() @ torch.linalg.lstsq(line.double(), got).solution
            expect(bend.abs().max() > 0.1, "this is a straight line; the curve is none.")
            errors.append(((got - _curve(grid)) ** 2).mean().item())
            fitted = line @ torch.linalg.lstsq(torch.cat([x, torch.ones_like(x)], 1), y).solution
            of_lines.append(((fitted - _curve(grid)) ** 2).mean().item())
            if errors[-1] == max(errors):
                worst = Picture(None, _curve(grid)[:, 0], got[:, 0], x=grid[:, 0], points=(x[:, 0], y[:, 0]))
    mean = sum(errors) / 6
    expect(
        mean < LIMIT,
        f"Over six sets, your networks are off from the true curve by {mean:.2f} (mean squared); "
        f"lines are by {sum(of_lines) / 6:.2f}, and less than {LIMIT} is wanted. The picture shows your worst.",
        worst,
    )


LIMIT = 0.25


def _network(neurons=13):
    return nn.Sequential(nn.Linear(1, neurons), nn.Tanh(), nn.Linear(neurons, 1))


def _descend(model, inputs, truth, epochs, optimizer):
    for _ in range(epochs):
        optimizer.zero_grad()
        ((model(inputs) - truth) ** 2).mean().backward()
        optimizer.step()
    return model


@tame.solution
def fit(inputs, truth):
    model = nn.Sequential(nn.Linear(1, 13), nn.Tanh(), nn.Linear(13, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.03, weight_decay=1.0)
    for _ in range(500):
        optimizer.zero_grad()
        ((model(inputs) - truth) ** 2).mean().backward()
        optimizer.step()
    return model


@tame.right
def stops_early(inputs, truth):
    model = _network()
    return _descend(model, inputs, truth, 120, torch.optim.Adam(model.parameters(), lr=0.01))


@tame.right
def punishes_large_weights(inputs, truth):
    model = _network()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
    for _ in range(400):
        optimizer.zero_grad()
        punishment = 0.02 * sum((p**2).sum() for p in model.parameters())
        (((model(inputs) - truth) ** 2).mean() + punishment).backward()
        optimizer.step()
    return model


@tame.wrong
def learns_by_heart(inputs, truth):
    model = _network()
    return _descend(model, inputs, truth, 800, torch.optim.Adam(model.parameters(), lr=0.05))


@tame.wrong
def a_plain_line(inputs, truth):
    model = nn.Linear(1, 1)
    return _descend(model, inputs, truth, 200, torch.optim.Adam(model.parameters(), lr=0.1))


@tame.wrong
def not_trained(inputs, truth):
    return _network()


@tame.wrong
def nearly_not_trained(inputs, truth):
    model = _network()
    return _descend(model, inputs, truth, 5, torch.optim.SGD(model.parameters(), lr=0.01))


@tame.wrong
def the_mean(inputs, truth):
    return lambda x: truth.mean().expand(len(x), 1)
