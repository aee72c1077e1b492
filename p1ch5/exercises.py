"""Checks of chapter 5's exercises."""

import torch

from p1ch5.thermometer import SCALE, best_line, loss_fn, readings
from util.exercises import exercise, expect


@exercise("5.1", hint="The derivative of |x| is its sign. Do not forget that the loss is a mean.")
def check_absolute_gradient(gradient):
    generator = torch.Generator().manual_seed(51)
    for count in (3, 8):
        t_u, t_c = torch.randn(2, count, generator=generator)
        params = torch.tensor([0.7, -0.2], requires_grad=True)
        (params[0] * t_u + params[1] - t_c).abs().mean().backward()
        got = torch.as_tensor(gradient(t_u, t_c, params[0].item(), params[1].item()))
        expect(got.shape == (2,), "Answer two numbers: the derivatives by w and by b.")
        expect(
            not torch.allclose(got, params.grad * count, atol=1e-5),
            "Your gradient is that of the sum of the errors; the loss is their mean.",
        )
        expect(torch.allclose(got, params.grad, atol=1e-5), "Autograd has another gradient.")


@exercise("5.2", hint="Subtract the mean, divide by the standard deviation; then put both into the line.")
def check_normalize(normalize):
    _, t_u = readings()
    for values in (t_u, t_u * 1000 - 7, -t_u):
        scaled, undo = normalize(values)
        expect(abs(scaled.mean().item()) < 1e-3, "The normalized readings should have mean 0.")
        expect(abs(scaled.std().item() - 1) < 1e-3, "The normalized readings should have a deviation of 1.")
        w, b = undo(2.0, 3.0)
        expect(
            torch.allclose(w * values + b, 2.0 * scaled + 3.0, rtol=1e-3, atol=1e-2),
            "The line with your w and b should predict for raw readings what 2·scaled + 3 predicts.",
        )


@exercise("5.3", hint="velocity = momentum · velocity + gradient, then params - rate · velocity.")
def check_momentum(momentum_step):
    generator = torch.Generator().manual_seed(53)
    params = torch.randn(2, generator=generator)
    mine, velocity = params.clone(), torch.zeros(2)
    theirs = params.clone().requires_grad_()
    optimizer = torch.optim.SGD([theirs], lr=0.05, momentum=0.9)
    for step in range(5):
        gradient = torch.randn(2, generator=generator)
        theirs.grad = gradient.clone()
        optimizer.step()
        mine, velocity = momentum_step(mine, velocity, gradient, 0.05, 0.9)
        if step == 0:
            expect(
                torch.allclose(mine, theirs, atol=1e-5), "The first step should be plain gradient descent."
            )
    expect(torch.allclose(mine, theirs, atol=1e-5), "After five steps, torch.optim.SGD is somewhere else.")


@exercise("5.4", hint="Shuffle indices with torch.randperm(n, generator=…), then cut.")
def check_split(split):
    t_c, t_u = readings()
    generator = torch.Generator().manual_seed(54)
    (train_u, train_c), (val_u, val_c) = split(t_u, t_c, 3, generator)
    expect(len(val_u) == 3 and len(train_u) == 8, "Three readings are held out, the other eight train.")
    expect(len(val_c) == 3 and len(train_c) == 8, "Both columns have to be split.")
    together = sorted(torch.cat([train_u, val_u]).tolist())
    expect(together == sorted(t_u.tolist()), "Each reading should be on exactly one side.")
    pairs = dict(zip(t_u.tolist(), t_c.tolist()))
    for u, c in zip(torch.cat([train_u, val_u]).tolist(), torch.cat([train_c, val_c]).tolist()):
        expect(pairs[u] == c, "A reading lost its partner: use the same indices for both columns.")
    seen = {tuple(split(t_u, t_c, 3, generator)[1][0].tolist()) for _ in range(8)}
    expect(len(seen) > 1, "Every call holds out the same readings: use the generator.")


@exercise("5.5", hint="Add up the gradient first: backward() adds to .grad until somebody sets it to zero.")
def check_accumulate(train):
    t_c, t_u = readings()
    torch.manual_seed(55)
    params = torch.tensor([1.0, 0.0], requires_grad=True)
    result = train(params, SCALE * t_u, t_c, 400, 0.01)
    result = torch.as_tensor(result).detach()
    by_hand = torch.tensor([1.0, 0.0])
    for _ in range(400):
        by_hand.requires_grad_()
        loss = loss_fn(by_hand[0] * SCALE * t_u + by_hand[1], t_c)
        by_hand = (by_hand - 0.01 * torch.autograd.grad(loss, by_hand)[0]).detach()
    expect(torch.isfinite(result).all(), "The parameters became infinite: is the gradient set to zero?")
    expect(
        torch.allclose(result, by_hand, atol=1e-3),
        "400 steps of gradient descent lead elsewhere. Reset .grad in every step, and step under no_grad.",
    )


@exercise("5.6", hint="A parabola needs its inputs scaled: t_u squared is fifty times as large as t_u.")
def check_parabola(fit):
    """Open-ended: any way that gets close to least squares counts."""
    t_c, t_u = readings()
    a, b, c = (float(v) for v in fit(t_u, t_c))
    loss = loss_fn(a * t_u**2 + b * t_u + c, t_c).item()
    columns = torch.stack([t_u**2, t_u, torch.ones_like(t_u)], dim=1).double()
    best = columns @ torch.linalg.lstsq(columns, t_c.double()[:, None]).solution
    least = loss_fn(best[:, 0], t_c.double()).item()
    line = loss_fn(torch.stack([t_u, torch.ones_like(t_u)]).T @ best_line(t_u, t_c), t_c).item()
    expect(loss == loss and loss < 1e6, f"The loss of your parabola is {loss}.")
    expect(loss <= line, f"Your parabola (loss {loss:.3f}) is worse than the line ({line:.3f}).")
    expect(
        loss <= least * 1.02, f"Loss {loss:.3f}; {least:.3f} can be reached. Train on, or scale the inputs."
    )
