"""Chapter 5's exercises: each with its text, stub, hints, check, solution and wrong answers."""

import itertools

import numpy as np
import torch

from p1ch5.thermometer import readings
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
    parts,
    predicted,
    same,
)

# ---------------------------------------------------------------- 5.1

gradients = Exercise(
    "5.1",
    title="What stands in grad?",
    difficulty=1,
    minutes=10,
    kind=PREDICT,
    text="""
    Before each of these lines, `w` is made anew: `w = torch.tensor(3.0, requires_grad=True)`. Which number
    stands in `w.grad` after the line? Work it out on paper first, then let PyTorch answer.
    """,
    stub="""
    in_grad = {
        "(2 * w).backward()": ...,
        "(w * w).backward()": ...,
        "(2 * w).backward(); (2 * w).backward()": ...,
        "(2 * w).backward(); w.grad.zero_(); (5 * w).backward()": ...,
        "(w * w.detach()).backward()": ...,
        "y = 2 * w; (y * y).backward()": ...,
        "y = torch.stack([w, 5 * w]); y.mean().backward()": ...,
    }
    """,
    hints=(
        "The derivative of what `backward` is called on, by `w`, at w = 3. And what does `backward` do "
        "with a number that is there already?",
        "`backward` adds to `grad`. A detached tensor is a constant with the value that it had.",
        "y = 2w, so y·y = 4w², with the derivative 8w. A mean over two numbers halves each one's share.",
    ),
    why="""
    `grad` is a sum over all calls of `backward` since somebody last set it to zero; this is why training
    loops do. `w * w.detach()` has the value of w², but half its slope: to autograd, only the first factor
    depends on w.
    """,
)


@gradients.check
def check_gradients(prediction):
    truth = {}
    for line in gradients.stub_keys:
        w = torch.tensor(3.0, requires_grad=True)
        exec(line, {"torch": torch, "w": w})
        truth[line] = w.grad
    predicted(prediction, truth)


gradients.solution("""
in_grad = {
    "(2 * w).backward()": 2,
    "(w * w).backward()": 6,
    "(2 * w).backward(); (2 * w).backward()": 4,
    "(2 * w).backward(); w.grad.zero_(); (5 * w).backward()": 5,
    "(w * w.detach()).backward()": 3,
    "y = 2 * w; (y * y).backward()": 24,
    "y = torch.stack([w, 5 * w]); y.mean().backward()": 3,
}
""")
_IN_GRAD = dict(zip(gradients.stub_keys, (2, 6, 4, 5, 3, 24, 3)))
gradients.right({line: torch.tensor(float(value)) for line, value in _IN_GRAD.items()})
gradients.right({line: np.float64(value) for line, value in _IN_GRAD.items()})
gradients.wrong({**_IN_GRAD, "(2 * w).backward(); (2 * w).backward()": 2})
gradients.wrong({**_IN_GRAD, "(w * w.detach()).backward()": 6})
gradients.wrong({**_IN_GRAD, "y = torch.stack([w, 5 * w]); y.mean().backward()": 6})
gradients.wrong({**_IN_GRAD, "y = 2 * w; (y * y).backward()": 12})
gradients.wrong(dict.fromkeys(_IN_GRAD, 2))

# ---------------------------------------------------------------- 5.2

absolute = Exercise(
    "5.2",
    title="Another loss, another gradient",
    difficulty=2,
    minutes=15,
    kind=BUILD,
    text="""
    The gradient of the mean *absolute* error of the line `w * t_u + b`: the derivatives by `w` and by `b`,
    in this order, by hand, as section 5.4 did it for the squared error. No prediction will be exactly
    right, so you need not think about the kink at zero.
    """,
    stub='''
    def absolute_gradient(t_u, t_c, w, b):
        """t_u, t_c: readings (N,); w, b: numbers. Returns two derivatives, (2,)."""
        raise NotImplementedError("your turn")
    ''',
    hints=(
        "What is the derivative of |x|? It takes two values only.",
        "The derivative of |x| is its sign. Then the chain rule: the line's slope in w is t_u, in b it is 1.",
        "`sign = torch.sign(w * t_u + b - t_c)`; the derivatives are the means of `sign * t_u` and of "
        "`sign`.",
    ),
    why="""
    Each reading pulls with the same force, however far off it is. One broken thermometer moves this line
    less than that of the squared error, which listens most to whoever is most wrong.
    """,
)


@absolute.check
def check_absolute(answer):
    for count in (1, 2, 3, 5, 8):
        # With these, no prediction is ever a whole number, as every t_c is.
        for w, b in 6 * ((0.5, 0.25), (2.0, -3.75), (-1.5, 2.25), (1.0, 0.25)):
            t_u, t_c = torch.randint(-5, 6, (2, count)).float()
            params = torch.tensor([w, b], requires_grad=True)
            (params[0] * t_u + params[1] - t_c).abs().mean().backward()
            with case(t_u=t_u, t_c=t_c, w=w, b=b):
                same(answer(t_u, t_c, w, b), params.grad, "the gradient")


@absolute.solution
def absolute_gradient(t_u, t_c, w, b):
    sign = torch.sign(w * t_u + b - t_c)
    return torch.stack([(sign * t_u).mean(), sign.mean()])


@absolute.right
def with_a_loop(t_u, t_c, w, b):
    by_w = by_b = 0.0
    for u, c in zip(t_u.tolist(), t_c.tolist()):
        side = 1 if w * u + b > c else -1
        by_w, by_b = by_w + side * u / len(t_u), by_b + side / len(t_u)
    return by_w, by_b


@absolute.right
def in_numpy(t_u, t_c, w, b):
    error = w * t_u.numpy() + b - t_c.numpy()
    return np.stack([t_u.numpy(), np.ones(len(t_u))]) @ (error / np.abs(error)) / len(t_u)


@absolute.right
def with_torch_func(t_u, t_c, w, b):
    def loss(params):
        return (params[0] * t_u + params[1] - t_c).abs().mean()

    return torch.func.grad(loss)(torch.tensor([w, b]))


@absolute.wrong
def of_the_sum(t_u, t_c, w, b):
    sign = torch.sign(w * t_u + b - t_c)
    return torch.stack([(sign * t_u).sum(), sign.sum()])


@absolute.wrong
def of_the_squared_error(t_u, t_c, w, b):
    error = 2 * (w * t_u + b - t_c)
    return torch.stack([(error * t_u).mean(), error.mean()])


@absolute.wrong
def with_the_wrong_sign(t_u, t_c, w, b):
    return -absolute_gradient(t_u, t_c, w, b)


@absolute.wrong
def forgets_w(t_u, t_c, w, b):
    return absolute_gradient(t_u, t_c, 0.5, b)


@absolute.wrong
def forgets_b(t_u, t_c, w, b):
    return absolute_gradient(t_u, t_c, w, 0.25)


@absolute.wrong
def b_before_w(t_u, t_c, w, b):
    return absolute_gradient(t_u, t_c, w, b).flip(0)


@absolute.wrong
def knows_the_chapters_eleven_readings(t_u, t_c, w, b):
    return absolute_gradient(t_u, t_c, w, b) * len(t_u) / 11


# ---------------------------------------------------------------- 5.3

standstill = Exercise(
    "5.3",
    title="The loop that stands still",
    difficulty=1,
    minutes=10,
    kind=BUG,
    text="""
    This loop uses every call that a training loop needs, raises nothing, and learns nothing. Print the loss
    if you like; then mend it. The check tries different optimizers and numbers of epochs.
    """,
    stub='''
    def train(n_epochs, optimizer, params, t_u, t_c):
        """params: (2,), requires a gradient, known to the optimizer. Returns params after n_epochs steps."""
        for _ in range(n_epochs):
            t_p = params[0] * t_u + params[1]
            loss = ((t_p - t_c) ** 2).mean()
            loss.backward()
            optimizer.zero_grad()
            optimizer.step()
        return params
    ''',
    hints=(
        "What does the optimizer find in `params.grad` when it makes its step?",
        "The gradient is computed, thrown away, and then used. Which two lines have to change places?",
        "`zero_grad` belongs before `backward`, or after `step`, but never between the two.",
    ),
    why="""
    `backward` writes the gradient, `step` reads it, `zero_grad` wipes it out. The order that is easiest to
    remember is zero_grad, backward, step, in three neighbouring lines.
    """,
)


def _trained(n_epochs, make_optimizer, t_u, t_c):
    params = torch.tensor([1.0, 0.0], requires_grad=True)
    optimizer = make_optimizer([params])
    for _ in range(n_epochs):
        optimizer.zero_grad()
        ((params[0] * t_u + params[1] - t_c) ** 2).mean().backward()
        optimizer.step()
    return params


_OPTIMIZERS = {
    "SGD with rate 0.01": lambda params: torch.optim.SGD(params, lr=0.01),
    "SGD with rate 0.001 and momentum": lambda params: torch.optim.SGD(params, lr=0.001, momentum=0.9),
    "Adam with rate 0.1": lambda params: torch.optim.Adam(params, lr=0.1),
}


@standstill.check
def check_standstill(answer):
    t_c, t_u = readings()
    t_u = 0.1 * t_u
    for n_epochs in (0, 1, 2, 3, 10):
        for name, make_optimizer in _OPTIMIZERS.items():
            params = torch.tensor([1.0, 0.0], requires_grad=True)
            with case(f"n_epochs = {n_epochs}, {name}"):
                got = answer(n_epochs, make_optimizer([params]), params, t_u, t_c)
                want = _trained(n_epochs, make_optimizer, t_u, t_c)
                same(got, want, "params", atol=1e-4)


@standstill.solution
def train(n_epochs, optimizer, params, t_u, t_c):
    for _ in range(n_epochs):
        t_p = params[0] * t_u + params[1]
        loss = ((t_p - t_c) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return params


@standstill.right
def zeroes_at_the_end(n_epochs, optimizer, params, t_u, t_c):
    for _ in range(n_epochs):
        ((params[0] * t_u + params[1] - t_c) ** 2).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    return params.detach()


@standstill.right
def with_a_gradient_of_its_own(n_epochs, optimizer, params, t_u, t_c):
    for _ in range(n_epochs):
        loss = torch.nn.functional.mse_loss(params[0] * t_u + params[1], t_c)
        (params.grad,) = torch.autograd.grad(loss, params)
        optimizer.step()
    return params


@standstill.right
def with_a_closure(n_epochs, optimizer, params, t_u, t_c):
    def closure():
        optimizer.zero_grad()
        loss = ((params[0] * t_u + params[1] - t_c) ** 2).mean()
        loss.backward()
        return loss

    for _ in range(n_epochs):
        optimizer.step(closure)
    return params


@standstill.wrong
def learns_on_a_copy(n_epochs, optimizer, params, t_u, t_c):
    return train(n_epochs, optimizer, params.detach().clone().requires_grad_(), t_u, t_c)


@standstill.wrong
def zeroes_once_before_the_loop(n_epochs, optimizer, params, t_u, t_c):
    optimizer.zero_grad()
    return never_zeroes(n_epochs, optimizer, params, t_u, t_c)


@standstill.wrong
def never_zeroes(n_epochs, optimizer, params, t_u, t_c):
    for _ in range(n_epochs):
        ((params[0] * t_u + params[1] - t_c) ** 2).mean().backward()
        optimizer.step()
    return params


@standstill.wrong
def with_an_optimizer_of_its_own(n_epochs, optimizer, params, t_u, t_c):
    return train(n_epochs, torch.optim.SGD([params], lr=0.01), params, t_u, t_c)


@standstill.wrong
def for_the_epochs_of_the_chapter(n_epochs, optimizer, params, t_u, t_c):
    return train(10, optimizer, params, t_u, t_c)


@standstill.wrong
def one_step_too_few(n_epochs, optimizer, params, t_u, t_c):
    return train(max(n_epochs - 1, 0), optimizer, params, t_u, t_c)


@standstill.wrong
def knows_the_answer_of_the_chapter(n_epochs, optimizer, params, t_u, t_c):
    return torch.tensor([5.3671, -17.3012])


# ---------------------------------------------------------------- 5.4

normalized = Exercise(
    "5.4",
    title="There and back again",
    difficulty=2,
    minutes=20,
    kind=BUILD,
    text="""
    Return the readings with mean 0 and standard deviation 1 (divided by N or by N - 1, as you like), and
    with them a function `undo(w, b)`: it takes the line that was found for normalized readings and returns
    the `w` and `b` of the same line for raw ones.
    """,
    stub='''
    def normalize(t_u):
        """t_u: (N,). Returns (normalized readings (N,), undo)."""
        raise NotImplementedError("your turn")
    ''',
    hints=(
        "For each raw reading, both lines have to predict the same temperature.",
        "Put x = (t_u - mean) / std into w · x + b and sort by t_u.",
        "The slope is w / std. What is left over, b - w · mean / std, is the intercept.",
    ),
    why="""
    Normalizing changes how fast descent gets there, not what can be reached: for every line in one world
    there is the same line in the other. A network that was trained on normalized inputs has to be given its
    mean and deviation along, or this conversion.
    """,
)


@normalized.check
def check_normalized(answer):
    _, t_u = readings()
    three = torch.tensor([1.0, 2.0, 6.0])
    for values in (three, -three, three + 100, 1000 * three, t_u, torch.randn(20)):
        mean = values.mean()
        with case(t_u=values):
            got = answer(values.clone())
            expect(
                isinstance(got, tuple | list) and len(got) == 2, "return two things: the readings, and undo."
            )
            scaled, undo = as_tensor(got[0], "the readings"), got[1]
            expect(
                scaled.shape == values.shape, f"the readings should keep their shape {tuple(values.shape)}."
            )
            deviations = [values.std(unbiased=unbiased) for unbiased in (True, False)]
            close = [
                torch.allclose(scaled.float(), sign * (values - mean) / std, atol=1e-4)
                for std in deviations
                for sign in (1, -1)  # turned over, they have mean 0 and deviation 1, too
            ]
            same(scaled.mean(), 0.0, "the mean of the normalized readings", atol=1e-3)
            if not any(close):
                off = [(scaled.std(unbiased=unbiased) - 1).abs() for unbiased in (True, False)]
                expect(
                    min(off) < 1e-3, f"their deviation is {scaled.std(unbiased=False):.4g}, and should be 1."
                )
                std = deviations[0] if off[0] < off[1] else deviations[1]
                same(scaled, (values - mean) / std, "the normalized readings")
            expect(callable(undo), "the second thing should be a function, undo(w, b).")
            for w, b in ((1.0, 0.0), (0.0, 1.0), (2.0, 3.0)):
                raw = undo(w, b)
                expect(
                    isinstance(raw, tuple | list | torch.Tensor | np.ndarray), "undo should return w and b."
                )
                expect(len(raw) == 2, "undo should return two things, w and b.")
                line = as_tensor(raw[0]) * values + as_tensor(raw[1])
                same(line, w * scaled + b, f"the line that undo({w:g}, {b:g}) returns", rtol=1e-3, atol=1e-2)


@normalized.solution
def normalize(t_u):
    mean, std = t_u.mean(), t_u.std()

    def undo(w, b):
        return w / std, b - w * mean / std

    return (t_u - mean) / std, undo


@normalized.right
def with_the_populations_deviation(t_u):
    std, mean = torch.std_mean(t_u, correction=0)
    return (t_u - mean) / std, lambda w, b: torch.stack([w / std, b - w * mean / std])


@normalized.right
def by_two_points(t_u):
    values = t_u.numpy()
    scaled = (values - values.mean()) / values.std()

    def undo(w, b):
        first, last = values.argmin(), values.argmax()
        slope = w * (scaled[last] - scaled[first]) / (values[last] - values[first])
        return [slope, w * scaled[first] + b - slope * values[first]]

    return scaled, undo


@normalized.right
def turned_over(t_u):
    scaled, undo = normalize(t_u)
    return -scaled, lambda w, b: undo(-w, b)


@normalized.wrong
def undo_forgets_the_shift(t_u):
    return (t_u - t_u.mean()) / t_u.std(), lambda w, b: (w / t_u.std(), b)


@normalized.wrong
def undo_with_a_plus(t_u):
    mean, std = t_u.mean(), t_u.std()
    return (t_u - mean) / std, lambda w, b: (w / std, b + w * mean / std)


@normalized.wrong
def in_rising_order(t_u):
    scaled, undo = normalize(t_u)
    return scaled.sort().values, undo


@normalized.wrong
def undo_returns_the_slope_alone(t_u):
    return normalize(t_u)[0], lambda w, b: [w / t_u.std()]


@normalized.wrong
def the_factor_of_the_chapter(t_u):
    return 0.1 * t_u, lambda w, b: (0.1 * w, b)


@normalized.wrong
def between_zero_and_one(t_u):
    low, width = t_u.min(), t_u.max() - t_u.min()
    return (t_u - low) / width, lambda w, b: (w / width, b - w * low / width)


@normalized.wrong
def with_the_mean_and_deviation_of_the_chapters_readings(t_u):
    _, chapter = readings()
    mean, std = chapter.mean(), chapter.std()
    return (t_u - mean) / std, lambda w, b: (w / std, b - w * mean / std)


# ---------------------------------------------------------------- 5.5

momentum = Exercise(
    "5.5",
    title="A step with momentum",
    difficulty=2,
    minutes=15,
    kind=BUILD,
    text="""
    One step of SGD with momentum: the velocity keeps `momentum` of what it was and gains the gradient, and
    the parameters move against it. Return the new parameters and the new velocity. `torch.optim.SGD` will
    be asked for comparison, over several steps.
    """,
    stub='''
    def momentum_step(params, velocity, gradient, rate, momentum):
        """params, velocity, gradient: tensors of one shape. Returns (new params, new velocity)."""
        raise NotImplementedError("your turn")
    ''',
    hints=(
        "Two lines: first the velocity, then the parameters. Which of the two knows the learning rate?",
        "The velocity is a fading sum of gradients. PyTorch multiplies by the rate only when it moves.",
        "`velocity = momentum * velocity + gradient`, then `params - rate * velocity`.",
    ),
    why="""
    In a long valley, the gradients across it change sign and cancel in the velocity, while those along it
    add up: to 1 / (1 - momentum) times the gradient, ten times for 0.9. So a larger momentum wants a
    smaller rate.
    """,
)


@momentum.check
def check_momentum(answer):
    for shape in ((1,), (2,), (2, 3)):
        for rate, factor in ((1.0, 0.0), (1.0, 0.5), (0.5, 0.9), (0.05, 0.9)):
            start = torch.randint(-5, 6, shape).float()
            theirs = start.clone().requires_grad_()
            optimizer = torch.optim.SGD([theirs], lr=rate, momentum=factor)
            mine, velocity = start.clone(), torch.zeros(shape)
            for step in range(1, 4):
                gradient = torch.randint(-5, 6, shape).float()
                theirs.grad = gradient.clone()
                optimizer.step()
                before, slow = mine.clone(), velocity.clone()
                words = f"step {step}"
                with case(words, params=before, velocity=slow, gradient=gradient, rate=rate, momentum=factor):
                    got = answer(mine, velocity, gradient, rate, factor)
                    expect(
                        isinstance(got, tuple | list) and len(got) == 2,
                        "return two things: params, velocity.",
                    )
                    same(got[0], theirs, "the new params")
                    # Without momentum, PyTorch keeps no velocity: it is the gradient.
                    wanted = optimizer.state[theirs].get("momentum_buffer")
                    same(got[1], theirs.grad if wanted is None else wanted, "the new velocity")
                    mine, velocity = (as_tensor(part).float() for part in got)


@momentum.solution
def momentum_step(params, velocity, gradient, rate, momentum):
    velocity = momentum * velocity + gradient
    return params - rate * velocity, velocity


@momentum.right
def in_place(params, velocity, gradient, rate, momentum):
    velocity.mul_(momentum).add_(gradient)
    params.sub_(rate * velocity)
    return [params, velocity]


@momentum.right
def in_numpy_as_doubles(params, velocity, gradient, rate, momentum):
    velocity = momentum * velocity.double().numpy() + gradient.double().numpy()
    return params.double().numpy() - rate * velocity, velocity


@momentum.wrong
def without_momentum(params, velocity, gradient, rate, momentum):
    return params - rate * gradient, gradient


@momentum.wrong
def with_a_running_mean(params, velocity, gradient, rate, momentum):
    velocity = momentum * velocity + (1 - momentum) * gradient
    return params - rate * velocity, velocity


@momentum.wrong
def with_the_old_velocity(params, velocity, gradient, rate, momentum):
    return params - rate * velocity, momentum * velocity + gradient


@momentum.wrong
def with_a_momentum_of_nine_tenths_always(params, velocity, gradient, rate, momentum):
    velocity = 0.9 * velocity + gradient
    return params - rate * velocity, velocity


@momentum.wrong
def with_the_rate_in_the_velocity(params, velocity, gradient, rate, momentum):
    velocity = momentum * velocity + rate * gradient
    return params - velocity, velocity


@momentum.wrong
def with_a_velocity_that_points_downhill(params, velocity, gradient, rate, momentum):
    velocity = momentum * velocity - gradient
    return params + rate * velocity, velocity


@momentum.wrong
def nesterov(params, velocity, gradient, rate, momentum):
    velocity = momentum * velocity + gradient
    return params - rate * (gradient + momentum * velocity), velocity


# ---------------------------------------------------------------- 5.6

leak = Exercise(
    "5.6",
    title="Held out, and yet seen",
    difficulty=2,
    minutes=15,
    kind=BUG,
    text="""
    `split` holds some readings out for validation and normalizes the inputs. Held-out readings stand for
    those of tomorrow: nothing that training sees may depend on them. Here it does. Find the leak and stop
    it; both parts still have to be normalized alike, and the draw is `generator`'s.
    """,
    stub='''
    def split(t_u, t_c, held_out, generator):
        """Returns (train_u, train_c), (val_u, val_c), with held_out pairs for validation, inputs normalized."""
        t_u = (t_u - t_u.mean()) / t_u.std()
        order = torch.randperm(len(t_u), generator=generator)
        val, train = order[:held_out], order[held_out:]
        return (t_u[train], t_c[train]), (t_u[val], t_c[val])
    ''',
    hints=(
        "Suppose one held-out reading were a thousand degrees higher. Which numbers in training would "
        "change?",
        "The mean and the deviation are computed from all readings. Whose should they be?",
        "Draw first. Then take the mean and the deviation of the training readings, and use them for both "
        "parts.",
    ),
    why="""
    Whatever is computed from data is part of the training: mean and deviation, too. The effect is small
    here; with feature selection, or with several crops of one patient, leaks of this kind have made whole
    papers worthless.
    """,
)


@leak.check
def check_leak(answer):
    t_c, t_u = readings()
    cases = [(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([10.0, 20.0, 40.0]), 1), (t_u, t_c, 4)]
    for u, c, held_out in cases:
        partner = dict(zip(c.tolist(), u.tolist()))
        with case(t_u=u, t_c=c, held_out=held_out):
            draws = set()
            for seed in range(6):
                parts = answer(u.clone(), c.clone(), held_out, torch.Generator().manual_seed(seed))
                expect(
                    isinstance(parts, tuple | list)
                    and [len(part) for part in parts if hasattr(part, "__len__")] == [2, 2],
                    "return two pairs: (train_u, train_c), (val_u, val_c).",
                )
                (train_u, train_c), (val_u, val_c) = [[as_tensor(v) for v in part] for part in parts]
                expect(len(val_u) == len(val_c) == held_out, f"{len(val_c)} pairs are held out.")
                together = sorted(torch.cat([train_c, val_c]).tolist())
                expect(together == sorted(c.tolist()), "each pair should be on exactly one side.")
                draws.add(tuple(val_c.tolist()))
                again = answer(u.clone(), c.clone(), held_out, torch.Generator().manual_seed(seed))[1][1]
                expect(
                    val_c.tolist() == as_tensor(again).tolist(),
                    "the same generator should draw the same split.",
                )
                raw_train, raw_val = (
                    torch.tensor([partner[x] for x in y.tolist()]) for y in (train_c, val_c)
                )
                mean = raw_train.mean()
                both = [raw_train.std(unbiased=unbiased) for unbiased in (True, False)]
                scale = min(both, key=lambda std: ((raw_train - mean) / std - train_u).abs().max().item())
                same(train_u, (raw_train - mean) / scale, "the training readings, normalized by their own,")
                same(
                    val_u, (raw_val - mean) / scale, "the held-out readings, normalized as those of training,"
                )
            expect(len(draws) > 1, "every generator holds out the same readings.")


@leak.solution
def split(t_u, t_c, held_out, generator):
    order = torch.randperm(len(t_u), generator=generator)
    val, train = order[:held_out], order[held_out:]
    mean, std = t_u[train].mean(), t_u[train].std()
    t_u = (t_u - mean) / std
    return (t_u[train], t_c[train]), (t_u[val], t_c[val])


@leak.right
def with_a_mask(t_u, t_c, held_out, generator):
    mask = torch.zeros(len(t_u), dtype=torch.bool)
    mask[torch.rand(len(t_u), generator=generator).argsort()[:held_out]] = True
    mean, std = t_u[~mask].mean(), t_u[~mask].std(unbiased=False)
    parts = [((t_u[side] - mean) / std, t_c[side]) for side in (~mask, mask)]
    return parts


@leak.right
def each_part_as_one_tensor(t_u, t_c, held_out, generator):
    return [torch.stack(part) for part in split(t_u, t_c, held_out, generator)]


@leak.right
def in_numpy_from_the_other_end(t_u, t_c, held_out, generator):
    order = torch.randperm(len(t_u), generator=generator).numpy()
    u, c = t_u.numpy()[order], t_c.numpy()[order]
    train, val = slice(0, len(u) - held_out), slice(len(u) - held_out, None)
    u = (u - u[train].mean()) / u[train].std(ddof=1)
    return (u[train], c[train]), (u[val], c[val])


def _normalized_by_training(t_u, t_c, train, val):
    mean, std = t_u[train].mean(), t_u[train].std()
    return ((t_u[train] - mean) / std, t_c[train]), ((t_u[val] - mean) / std, t_c[val])


@leak.right
def with_random_split(t_u, t_c, held_out, generator):
    sizes = [held_out, len(t_u) - held_out]
    val, train = torch.utils.data.random_split(range(len(t_u)), sizes, generator=generator)
    return _normalized_by_training(t_u, t_c, list(train), list(val))


@leak.wrong
def deviation_of_all(t_u, t_c, held_out, generator):
    order = torch.randperm(len(t_u), generator=generator)
    val, train = order[:held_out], order[held_out:]
    mean, std = t_u[train].mean(), t_u.std()
    return ((t_u[train] - mean) / std, t_c[train]), ((t_u[val] - mean) / std, t_c[val])


@leak.wrong
def trains_on_everything(t_u, t_c, held_out, generator):
    order = torch.randperm(len(t_u), generator=generator)
    return _normalized_by_training(t_u, t_c, order, order[:held_out])


@leak.wrong
def ignores_the_generator(t_u, t_c, held_out, generator):
    order = torch.randperm(len(t_u))
    return _normalized_by_training(t_u, t_c, order[held_out:], order[:held_out])


@leak.wrong
def holds_out_the_first(t_u, t_c, held_out, generator):
    order = torch.arange(len(t_u))
    return _normalized_by_training(t_u, t_c, order[held_out:], order[:held_out])


@leak.wrong
def normalizes_each_part_by_itself(t_u, t_c, held_out, generator):
    (train_u, train_c), (val_u, val_c) = split(t_u, t_c, held_out, generator)
    return (train_u, train_c), (val_u - val_u.mean(), val_c)


@leak.wrong
def separates_the_pairs(t_u, t_c, held_out, generator):
    order = torch.randperm(len(t_u), generator=generator)
    return split(t_u[order], t_c, held_out, generator)


@leak.wrong
def does_not_normalize(t_u, t_c, held_out, generator):
    order = torch.randperm(len(t_u), generator=generator)
    return (t_u[order[held_out:]], t_c[order[held_out:]]), (t_u[order[:held_out]], t_c[order[:held_out]])


@leak.wrong
def four_in_a_row(t_u, t_c, held_out, generator):
    train, val = split(t_u, t_c, held_out, generator)
    return *train, *val


@leak.wrong
def holds_out_three_always(t_u, t_c, held_out, generator):
    return split(t_u, t_c, min(3, len(t_u) - 2), generator)


# ---------------------------------------------------------------- 5.7

robust = Exercise(
    "5.7",
    title="A line that is not taken in",
    difficulty=3,
    minutes=40,
    kind=EXPERIMENT,
    seconds=2,
    text="""
    Somebody misread the thermometer. Most readings lie within 1 °C of a line; up to a fifth of them are 20 to 40 °C
    off, all to one side, and perhaps all at the same end of the scale. The squared error listens to the loudest. Find a
    way to train or compute a line that does not: between its smallest and its largest reading it may be at most 3 °C
    off the true line. Draw such readings from a line of your own, and try your way on them. The check does so with
    lines that you cannot see, and with thermometers of other scales: readings from 20 to 80, or from 200 to 800.
    """,
    stub='''
    def robust_line(t_u, t_c):
        """t_u, t_c: (N,), N of 6 to 20, up to a fifth of t_c misread. Returns w and b of the line."""
        raise NotImplementedError("your turn")
    ''',
    hints=(
        "First see how bad it is: draw ten readings of a line, add 30 to the last one, and fit. How far off is the "
        "line there? Which loss does not care *how* far off a reading is?",
        "The absolute error pulls equally hard at every reading (exercise 5.2), so the many outvote the few. "
        "Normalize the readings, so that one learning rate serves every scale, and let the rate shrink at the end.",
        "With x = (t_u - mean) / std: 500 steps of Adam on `(w * x + b - t_c).abs().mean()` with a `OneCycleLR` "
        "up to a rate of 1, and then back to raw readings: w / std, and b - w * mean / std. Another way needs no "
        "gradient: the median of the slopes of all pairs of readings.",
    ),
    why="""
    In the squared error, a reading that is 30 °C off weighs as much as 900 that are 1 °C off; in the absolute error it
    weighs as much as 30, and its pull, the gradient, is that of any other. In between lies `nn.HuberLoss`: squared for
    small errors, absolute for large ones. What a network learns from wrong labels depends on its loss in the same way.
    """,
)


def _readings_of_a_line(count, misread, at_the_end, w, b, scale):
    """Readings (N,), temperatures (N,): uniform noise of at most 0.7 °C, and `misread` ones 20 to 40 °C off."""
    t_u = torch.linspace(20, 80, count) + (torch.rand(count) - 0.5) * 60 / count
    t_c = w * t_u + b + 0.7 * (2 * torch.rand(count) - 1)
    wrong = torch.arange(count)[-misread or count :] if at_the_end else torch.randperm(count)[:misread]
    side = 1 if torch.rand(()) < 0.5 else -1
    t_c[wrong] += side * (20 + 20 * torch.rand(len(wrong)))
    return scale * t_u, t_c


@robust.check
def check_robust(answer):
    cases = [
        (6, 0, False, 1, "6 readings, none of them misread"),
        (9, 0, False, 10, "9 readings, none of them misread, of a scale that is ten times as fine"),
        (9, 1, True, 1, "9 readings, the highest of them misread"),
        (15, 2, True, 1, "15 readings, the two highest misread"),
        (15, 3, False, 1, "15 readings, three of them misread"),
        (20, 4, False, 10, "20 readings, four of them misread, of a scale that is ten times as fine"),
    ]
    for number, (count, misread, at_the_end, scale, words) in enumerate(cases):
        w, b = (0.3 + 0.6 * torch.rand(())).item() * (-1) ** (number == 4), (-20 * torch.rand(())).item()
        t_u, t_c = _readings_of_a_line(count, misread, at_the_end, w, b, scale)
        with case(words, t_u=t_u, t_c=t_c):
            got = parts(answer(t_u.clone(), t_c.clone()), 2, "return two numbers, w and b.")
            mine_w, mine_b = (as_tensor(part).squeeze() for part in got)
            expect(mine_w.ndim == mine_b.ndim == 0, "w and b should be one number each.")
            x = torch.linspace(t_u.min().item(), t_u.max().item(), 61).double()
            want, line = w / scale * x + b, mine_w * x + mine_b
            off = (line - want).abs().nan_to_num(torch.inf)
            at = x[off.argmax()].item()
            expect(
                off.max() <= 3,
                f"at t_u = {at:.3g} your line is {off.max():.1f} °C off the true one; 3 °C are allowed.",
                Picture(None, want, line, x=x, points=(t_u, t_c), titles=("", "the true line", "your line")),
            )


@robust.solution
def robust_line(t_u, t_c):
    mean, std = t_u.mean(), t_u.std()
    x = (t_u - mean) / std
    params = torch.zeros(2, requires_grad=True)
    optimizer = torch.optim.Adam([params], lr=0.1)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1.0, total_steps=500)
    for _ in range(500):
        loss = (params[0] * x + params[1] - t_c).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
    w, b = params.detach()
    return w / std, b - w * mean / std


@robust.right
def median_of_all_slopes(t_u, t_c):
    pairs = itertools.combinations(range(len(t_u)), 2)
    w = torch.stack([(t_c[j] - t_c[i]) / (t_u[j] - t_u[i]) for i, j in pairs]).median()
    return torch.stack([w, (t_c - w * t_u).median()])


@robust.right
def line_through_two_readings_that_most_agree_with(t_u, t_c):
    u, c = t_u.double().numpy(), t_c.double().numpy()
    best = None
    for i, j in itertools.combinations(range(len(u)), 2):
        w = (c[j] - c[i]) / (u[j] - u[i])
        loss = np.abs(w * (u - u[i]) + c[i] - c).sum()
        if best is None or loss < best[0]:
            best = loss, [w, c[i] - w * u[i]]
    return best[1]


@robust.right
def least_squares_again_and_again_with_smaller_weights(t_u, t_c):
    columns = torch.stack([t_u, torch.ones_like(t_u)], dim=1).double()
    weight = torch.ones(len(t_u)).double()
    for _ in range(60):
        root = weight.sqrt()[:, None]
        line = torch.linalg.lstsq(columns * root, t_c.double()[:, None] * root).solution
        weight = 1 / ((columns @ line)[:, 0] - t_c).abs().clamp(min=0.3)
    return line


def _line(t_u, t_c):
    return tuple(np.polyfit(t_u.double().numpy(), t_c.double().numpy(), 1))


@robust.right
def with_a_huber_loss(t_u, t_c):
    mean, std = t_u.mean(), t_u.std()
    layer, x = torch.nn.Linear(1, 1), ((t_u - mean) / std)[:, None]
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.5)
    for step in range(400):
        optimizer.param_groups[0]["lr"] = 0.5 if step < 300 else 0.05
        optimizer.zero_grad()
        torch.nn.functional.huber_loss(layer(x)[:, 0], t_c).backward()
        optimizer.step()
    w = layer.weight.item() / std
    return torch.stack([w, layer.bias.detach()[0] - w * mean])


@robust.wrong
def level_at_the_median(t_u, t_c):
    return 0.0, t_c.median()


@robust.wrong
def the_largest_error_as_small_as_possible(t_u, t_c):
    """The loss that listens to the loudest reading alone."""
    mean, std = t_u.mean(), t_u.std()
    w, b = _line(t_u, t_c)
    params = torch.tensor([w * std, b + w * mean], requires_grad=True)
    optimizer = torch.optim.Adam([params], lr=0.3)
    for _ in range(150):
        optimizer.zero_grad()
        (params[0] * (t_u - mean) / std + params[1] - t_c).abs().max().backward()
        optimizer.step()
    w, b = params.detach()
    return w / std, b - w * mean / std


@robust.wrong
def least_squares(t_u, t_c):
    return _line(t_u, t_c)


@robust.wrong
def without_the_reading_that_is_furthest_off(t_u, t_c):
    w, b = _line(t_u, t_c)
    keep = torch.arange(len(t_u)) != (w * t_u + b - t_c).abs().argmax()
    return _line(t_u[keep], t_c[keep])


@robust.wrong
def first_and_last_reading(t_u, t_c):
    w = (t_c[-1] - t_c[0]) / (t_u[-1] - t_u[0])
    return w, t_c[0] - w * t_u[0]


@robust.wrong
def the_line_of_the_chapter(t_u, t_c):
    return 0.53671, -17.3012


@robust.wrong
def absolute_error_on_raw_readings(t_u, t_c):
    params = torch.tensor([1.0, 0.0], requires_grad=True)
    optimizer = torch.optim.SGD([params], lr=1e-4)
    for _ in range(100):
        optimizer.zero_grad()
        (params[0] * t_u + params[1] - t_c).abs().mean().backward()
        optimizer.step()
    return params.tolist()


@robust.wrong
def forgets_to_go_back_to_raw_readings(t_u, t_c):
    mean, std = t_u.mean(), t_u.std()
    w, b = median_of_all_slopes((t_u - mean) / std, t_c)
    return w, b


@robust.wrong
def mean_of_all_slopes(t_u, t_c):
    pairs = itertools.combinations(range(len(t_u)), 2)
    w = torch.stack([(t_c[j] - t_c[i]) / (t_u[j] - t_u[i]) for i, j in pairs]).mean()
    return w, (t_c - w * t_u).mean()


@robust.wrong
def intercept_before_slope(t_u, t_c):
    w, b = median_of_all_slopes(t_u, t_c)
    return b, w
