"""CycleGAN: two generators and two discriminators that learn a translation without a single pair.

The generator has the layout of Johnson et al. (2016) as CycleGAN (Zhu et al. 2017) uses it, and the
parameter names of the published horse-to-zebra weights, so that they load. Pictures run from -1 to 1.
"""

import copy
import itertools

import torch
import torch.nn.functional as F
from torch import nn


class ResNetBlock(nn.Module):
    """x plus a learned change of x; the shape (N, dim, H, W) stays."""

    def __init__(self, dim):
        super().__init__()
        self.conv_block = self.build_conv_block(dim)

    def build_conv_block(self, dim):
        """Two 3x3 convolutions at `dim` channels, each on a mirrored border and normed."""

        def convolve():
            return [nn.ReflectionPad2d(1), nn.Conv2d(dim, dim, 3), nn.InstanceNorm2d(dim)]

        return nn.Sequential(*convolve(), nn.ReLU(inplace=True), *convolve())

    def forward(self, x):
        return x + self.conv_block(x)


class ResNetGenerator(nn.Module):
    """A picture in, a picture of the same size out: (N, input_nc, H, W) -> (N, output_nc, H, W).

    H and W must be multiples of 4. ngf: channels at full size; n_blocks: residual blocks at a quarter of
    it. The published weights have ngf=64 and n_blocks=9, ours 16 and 3.
    """

    def __init__(self, input_nc=3, output_nc=3, ngf=64, n_blocks=9):
        super().__init__()
        if n_blocks < 0:
            raise ValueError(f"n_blocks must not be negative, not {n_blocks}")

        def normed(convolution):
            return [convolution, nn.InstanceNorm2d(convolution.out_channels), nn.ReLU(inplace=True)]

        down = [(ngf, 2 * ngf), (2 * ngf, 4 * ngf)]
        layers = [nn.ReflectionPad2d(3), *normed(nn.Conv2d(input_nc, ngf, 7))]  # (N, ngf, H, W)
        for thin, thick in down:
            layers += normed(nn.Conv2d(thin, thick, 3, stride=2, padding=1))
        layers += [ResNetBlock(4 * ngf) for _ in range(n_blocks)]  # (N, 4 ngf, H/4, W/4)
        for thin, thick in reversed(down):
            up = nn.ConvTranspose2d(thick, thin, 3, stride=2, padding=1, output_padding=1)
            layers += normed(up)
        layers += [nn.ReflectionPad2d(3), nn.Conv2d(ngf, output_nc, 7), nn.Tanh()]
        self.model = nn.Sequential(*layers)

    def forward(self, input):
        return self.model(input)


class PatchDiscriminator(nn.Module):
    """One verdict per patch: (N, 3, H, W) -> (N, 1, H/4, W/4), near 1 where a patch looks real.

    Each verdict sees about a third of a 64-pixel picture. That is enough to judge stripes and edges, and too
    little to demand another animal in another pose.
    """

    def __init__(self, width=32):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, width, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(width, 2 * width, 4, stride=2, padding=1),
            nn.InstanceNorm2d(2 * width),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(2 * width, 2 * width, 3, padding=1),
            nn.InstanceNorm2d(2 * width),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(2 * width, 1, 3, padding=1),
        )

    def forward(self, x):
        return self.layers(x)


class ReplayBuffer:
    """Remembers older fakes and hands them out half of the time, so that old tricks stay punished."""

    def __init__(self, size, generator):
        self.size = size
        self.generator = generator
        self.pictures = []

    def swap(self, fakes):
        """A batch like `fakes` in which about half are older ones; the new ones are remembered."""
        chosen = []
        for fake in fakes.detach():
            if len(self.pictures) < self.size:
                self.pictures.append(fake)
            elif torch.rand((), generator=self.generator) < 0.5:
                place = int(torch.randint(self.size, (), generator=self.generator))
                fake, self.pictures[place] = self.pictures[place], fake
            chosen.append(fake)
        return torch.stack(chosen)


class CycleGan(nn.Module):
    """Plain to striped and back: both generators, both discriminators, and one step of their training.

    cycle, identity: weights of the two losses beside the game itself. `average` holds running averages of
    the generators' weights (`average["striped"]`, `average["plain"]`), which are calmer than the weights.
    """

    def __init__(self, ngf=16, n_blocks=3, cycle=10.0, identity=2.0, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.to_striped = ResNetGenerator(ngf=ngf, n_blocks=n_blocks)
        self.to_plain = ResNetGenerator(ngf=ngf, n_blocks=n_blocks)
        self.looks_striped = PatchDiscriminator()
        self.looks_plain = PatchDiscriminator()
        for layer in self.modules():
            if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
                nn.init.normal_(layer.weight, 0, 0.02)
                nn.init.zeros_(layer.bias)
        self.average = nn.ModuleDict(
            {"striped": copy.deepcopy(self.to_striped), "plain": copy.deepcopy(self.to_plain)}
        ).requires_grad_(False)
        self.cycle, self.identity = cycle, identity
        chance = torch.Generator().manual_seed(seed)
        self.old_striped, self.old_plain = ReplayBuffer(50, chance), ReplayBuffer(50, chance)

    def optimizers(self, rate=4e-4):
        """Adam for the generators and Adam for the discriminators, as the CycleGAN paper sets them."""
        generators = itertools.chain(self.to_striped.parameters(), self.to_plain.parameters())
        judges = itertools.chain(self.looks_striped.parameters(), self.looks_plain.parameters())
        return [torch.optim.Adam(p, lr=rate, betas=(0.5, 0.999)) for p in (generators, judges)]

    def generator_loss(self, plain, striped):
        """(loss, its parts as floats, fake striped, fake plain) for a batch of each kind, both (N, 3, H, W)."""
        fake_striped, fake_plain = self.to_striped(plain), self.to_plain(striped)
        game = (self.looks_striped(fake_striped) - 1).square().mean()
        game = game + (self.looks_plain(fake_plain) - 1).square().mean()
        cycle = F.l1_loss(self.to_plain(fake_striped), plain) + F.l1_loss(
            self.to_striped(fake_plain), striped
        )
        # What is striped already should be left alone, and likewise what is plain.
        identity = F.l1_loss(self.to_striped(striped), striped) + F.l1_loss(self.to_plain(plain), plain)
        loss = game + self.cycle * cycle + self.identity * identity
        parts = {"game": game.item(), "cycle": cycle.item(), "identity": identity.item()}
        return loss, parts, fake_striped, fake_plain

    def discriminator_loss(self, plain, striped, fake_striped, fake_plain):
        """Real pictures should score 1, fakes 0: squared errors, halved (LSGAN, Mao et al. 2017)."""
        loss = 0
        for judge, real, fake in (
            (self.looks_striped, striped, self.old_striped.swap(fake_striped)),
            (self.looks_plain, plain, self.old_plain.swap(fake_plain)),
        ):
            loss = loss + ((judge(real) - 1).square().mean() + judge(fake).square().mean()) / 2
        return loss

    def step(self, plain, striped, optimizers):
        """One move of the generators, then one of the discriminators; returns the losses as floats."""
        for_generators, for_judges = optimizers
        judges = [*self.looks_striped.parameters(), *self.looks_plain.parameters()]
        for parameter in judges:
            parameter.requires_grad_(False)  # the generators' move leaves them alone
        loss, parts, fake_striped, fake_plain = self.generator_loss(plain, striped)
        for_generators.zero_grad()
        loss.backward()
        for_generators.step()

        for parameter in judges:
            parameter.requires_grad_(True)
        loss = self.discriminator_loss(plain, striped, fake_striped, fake_plain)
        for_judges.zero_grad()
        loss.backward()
        for_judges.step()
        self.update_average()
        return {**parts, "discriminators": loss.item()}

    @torch.no_grad()
    def update_average(self, keep=0.99):
        """Move the averaged generators 1 % of the way to the current ones."""
        for name, current in (("striped", self.to_striped), ("plain", self.to_plain)):
            averaged = self.average[name].parameters()
            for mean, now in zip(averaged, current.parameters(), strict=True):
                mean.lerp_(now, 1 - keep)


def to_signed(pictures):
    """uint8 pictures (N, H, W, 3) -> floats (N, 3, H, W) from -1 to 1, as the generators expect."""
    return torch.as_tensor(pictures).movedim(-1, 1).float() / 127.5 - 1


def to_pictures(signed):
    """Floats (N, 3, H, W) from -1 to 1 -> uint8 pictures (N, H, W, 3)."""
    return ((signed.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).movedim(1, -1)
