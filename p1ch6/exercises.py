"""Checks of chapter 6's exercises."""

import torch
from torch import nn

from p1ch6.network import column_readings, make_network
from util.exercises import exercise, expect


@exercise("6.1", hint="Multiply inputs by weights, add the bias, then tanh. x @ w sums over the inputs.")
def check_neuron(neuron):
    generator = torch.Generator().manual_seed(61)
    linear = nn.Linear(4, 1)
    with torch.no_grad():
        for parameter in linear.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    x = torch.randn(5, 4, generator=generator)
    got = neuron(x, linear.weight[0].detach(), linear.bias[0].detach())
    expect(got.shape == (5,), f"Five samples give five answers, (5,); yours is {tuple(got.shape)}.")
    linear_part = linear(x)[:, 0].detach()
    expect(not torch.allclose(got, linear_part, atol=1e-4), "The activation is missing.")
    expect(torch.allclose(got, linear_part.tanh(), atol=1e-5), "nn.Linear and tanh say something else.")


@exercise("6.2", hint="A linear layer from n to m has n·m weights and m biases.")
def check_count(count_parameters):
    for sizes in ((1, 13, 1), (1, 1), (3072, 512, 2), (5, 4, 3, 2)):
        layers = [nn.Linear(n, m) for n, m in zip(sizes, sizes[1:])]
        want = sum(p.numel() for layer in layers for p in layer.parameters())
        got = count_parameters(sizes)
        expect(got == want, f"Layers of sizes {sizes} have {want} parameters, not {got}.")


@exercise("6.3", hint="W2 (W1 x + b1) + b2: multiply out. Weights of nn.Linear have shape (out, in).")
def check_collapse(collapse):
    torch.manual_seed(63)
    for first, second in ((nn.Linear(3, 7), nn.Linear(7, 2)), (nn.Linear(1, 5), nn.Linear(5, 4))):
        one = collapse(first, second)
        expect(isinstance(one, nn.Linear), "Answer one nn.Linear.")
        expect(
            (one.in_features, one.out_features) == (first.in_features, second.out_features),
            "Its sizes should be the inputs of the first and the outputs of the second layer.",
        )
        x = torch.randn(6, first.in_features)
        expect(
            torch.allclose(one(x), second(first(x)), atol=1e-5),
            "It answers something else than the two layers. What becomes of the first layer's bias?",
        )


@exercise("6.4", hint="super().__init__() first; layers as attributes; forward calls them.")
def check_module(cls):
    model = cls(9)
    expect(isinstance(model, nn.Module), "Derive the class from nn.Module.")
    expect(
        sum(p.numel() for p in model.parameters()) == 9 + 9 + 9 + 1,
        "A network with 9 hidden neurons has 28 parameters; does the module know its layers?",
    )
    x = torch.linspace(-3, 3, 20)[:, None]
    got = model(x)
    expect(got.shape == (20, 1), f"Twenty samples in, (20, 1) out, not {tuple(got.shape)}.")
    like = make_network(9)
    like.load_state_dict(
        dict(zip(like.state_dict(), model.state_dict().values())),
    )
    expect(torch.allclose(like(x), got, atol=1e-5), "The same weights in make_network(9) answer differently.")


@exercise("6.5", hint="Two tanh of opposite sign, shifted against each other, make a hill.")
def check_bump(bump):
    """Any network of one hidden layer that is high inside an interval and low outside."""
    for low, high in ((-1.0, 1.0), (2.0, 5.0)):
        model = bump(low, high)
        x = torch.linspace(-10, 10, 401)[:, None]
        with torch.no_grad():
            y = model(x)[:, 0]
        x = x[:, 0]
        inside = (x > low + 0.3) & (x < high - 0.3)
        outside = (x < low - 0.3) | (x > high + 0.3)
        expect(y.shape == (401,), "The network should map (N, 1) to (N, 1).")
        expect((y[inside] > 0.9).all(), f"Between {low} and {high} the answer should be above 0.9.")
        expect((y[outside].abs() < 0.1).all(), f"Outside {low} to {high} the answer should be near 0.")


@exercise("6.6", hint="Hold out, train, stop early; or penalise large weights; or scale the inputs.")
def check_better(fit):
    """Open-ended: a network that predicts readings it has not seen about as well as the line."""
    inputs, truth = column_readings()
    errors = []
    for out in (0, 3, 5, 8):
        keep = [row for row in range(len(inputs)) if row != out]
        torch.manual_seed(out)
        model = fit(inputs[keep], truth[keep])
        with torch.no_grad():
            errors.append((model(inputs[[out]]) - truth[[out]]).item() ** 2)
    loss = sum(errors) / len(errors)
    expect(loss == loss, "The network answers nan.")
    expect(
        loss < 9,
        f"On four readings that were held out the mean squared error is {loss:.1f}; a line has about 4.",
    )
