"""The GAN game in its smallest form: a forger and a detective, both a few thousand parameters large.

The forger turns noise into 16 x 16 silhouettes, the detective tells them from drawn ones (Goodfellow et al.
2014). Small enough to be watched from the first move in half a minute on a CPU.
"""

from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from p1ch2.drawing import draw_animal, rng_for

NOISE = 32


def silhouettes(number, species="butterfly", seed=500):
    """Outlines of drawn animals as tensors (number, 1, 16, 16): -1 outside, 1 inside."""
    masks = np.stack([draw_animal(rng_for(seed, i), species).mask for i in range(number)])
    small = F.avg_pool2d(torch.from_numpy(masks)[:, None], 4)  # (N, 1, 64, 64) -> (N, 1, 16, 16)
    return small * 2 - 1


class Forger(nn.Sequential):
    """Noise (N, 32) -> pictures (N, 1, 16, 16) from -1 to 1."""

    def __init__(self, width=16):
        super().__init__(
            nn.Linear(NOISE, 2 * width * 16),
            nn.Unflatten(1, (2 * width, 4, 4)),
            nn.BatchNorm2d(2 * width),
            nn.ReLU(),
            nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1),  # (N, width, 8, 8)
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.ConvTranspose2d(width, 1, 4, stride=2, padding=1),  # (N, 1, 16, 16)
            nn.Tanh(),
        )


class Detective(nn.Sequential):
    """Pictures (N, 1, 16, 16) -> one number each (N, 1), above 0 for "real".

    Spectral norm (Miyato et al. 2018) keeps its verdicts from changing abruptly, which gives the forger a
    slope to follow.
    """

    def __init__(self, width=16):
        super().__init__(
            spectral_norm(nn.Conv2d(1, width, 4, stride=2, padding=1)),  # (N, width, 8, 8)
            nn.LeakyReLU(0.2),
            spectral_norm(nn.Conv2d(width, 2 * width, 4, stride=2, padding=1)),  # (N, 2 width, 4, 4)
            nn.LeakyReLU(0.2),
            nn.Flatten(),
            spectral_norm(nn.Linear(2 * width * 16, 1)),
        )


@dataclass
class Game:
    """What happened: both losses at every move, and the same 10 noises' pictures at some moves."""

    forger_loss: list = field(default_factory=list)
    detective_loss: list = field(default_factory=list)
    pictures: dict = field(default_factory=dict)  # move -> (10, 16, 16)


def detective_move(forger, detective, real, noise, optimizer):
    """Show the detective real and forged pictures and tell it which is which; returns its loss."""
    forged = forger(noise).detach()  # the forger does not learn from this move
    judged_real, judged_forged = detective(real), detective(forged)
    loss = F.binary_cross_entropy_with_logits(judged_real, torch.ones_like(judged_real))
    loss = loss + F.binary_cross_entropy_with_logits(judged_forged, torch.zeros_like(judged_forged))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item() / 2


def forger_move(forger, detective, noise, optimizer):
    """Let the forger change its ways so that the detective calls its pictures real; returns its loss."""
    judged = detective(forger(noise))
    loss = F.binary_cross_entropy_with_logits(judged, torch.ones_like(judged))
    optimizer.zero_grad()
    loss.backward()  # leaves gradients in the detective too; its own move clears them
    optimizer.step()
    return loss.item()


def play(real, moves=1000, batch_size=32, seed=0, keep=(0, 30, 100, 200, 400, 1000), device="cpu"):
    """Play the game on pictures `real` (N, 1, 16, 16); returns (`Game`, forger, detective)."""
    torch.manual_seed(seed)
    forger, detective = Forger().to(device), Detective().to(device)
    optimizers = [torch.optim.Adam(net.parameters(), 1e-3, betas=(0.5, 0.99)) for net in (forger, detective)]
    game, fixed = Game(), torch.randn(10, NOISE, device=device)
    for move in range(moves + 1):
        if move in keep:
            with torch.no_grad():
                game.pictures[move] = forger.eval()(fixed)[:, 0].cpu()
            forger.train()
        chosen = real[torch.randint(len(real), (batch_size,))].to(device)
        noise = torch.randn(2, batch_size, NOISE, device=device)
        game.detective_loss.append(detective_move(forger, detective, chosen, noise[0], optimizers[1]))
        game.forger_loss.append(forger_move(forger, detective, noise[1], optimizers[0]))
    return game, forger, detective
