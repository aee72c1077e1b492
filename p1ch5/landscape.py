"""The loss drawn over the two parameters, with the way an optimizer takes (chapter 5)."""

import torch

from p1ch5.thermometer import loss_fn, model


def loss_surface(t_u, t_c, w, b):
    """Loss at every pair of `w` (W,) and `b` (B,), as (B, W)."""
    t_p = model(t_u, w[None, :, None], b[:, None, None])  # (B, W, N)
    return ((t_p - t_c) ** 2).mean(dim=2)


def path_of(make_optimizer, t_u, t_c, steps, start=(1.0, 0.0)):
    """The parameters before every step of an optimizer and after the last, (steps + 1, 2).

    make_optimizer: called with a list of one tensor (2,), such as `lambda p: torch.optim.SGD(p, lr=0.01)`.
    """
    params = torch.tensor(start, requires_grad=True)
    optimizer = make_optimizer([params])
    places = [params.detach().clone()]
    for _ in range(steps):
        optimizer.zero_grad()
        loss_fn(model(t_u, *params), t_c).backward()
        optimizer.step()
        places.append(params.detach().clone())
    return torch.stack(places)


def draw_landscape(axis, t_u, t_c, w_range, b_range, levels=None):
    """Contours of the loss on a matplotlib axis; their spacing grows, since the loss grows squared."""
    w, b = torch.linspace(*w_range, 160), torch.linspace(*b_range, 160)
    surface = loss_surface(t_u, t_c, w, b)
    if levels is None:
        low, high = surface.min().item(), surface.max().item()
        levels = low + (high - low) * torch.linspace(0.02, 1, 14) ** 2
    axis.contour(w, b, surface, levels=levels, cmap="Greys_r", linewidths=0.8)
    axis.set(xlabel="w (°C per unit)", ylabel="b (°C)", xlim=w_range, ylim=b_range)
