"""Chapter 8: the networks, the fast loop against plain code as an oracle, and what the designs change."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from p1ch7 import draw
from p1ch7.training import count_parameters, fully_connected, shift
from p1ch8 import benchmark
from p1ch8.designs import DESIGNS, Design, part_of, run
from p1ch8.fast import BORDER, ImageSet, accuracy_on, cut, fit, up_and_down, with_border
from p1ch8.model import Net, NetBatchNorm, NetDropout, NetPoolFirst, NetResDeep, ResBlock
from tests.test_p1ch7 import SEEDS, drawn_sets, real_root, real_sets, trained_fully_connected  # noqa: F401


@pytest.mark.parametrize(
    "build",
    [Net, NetPoolFirst, NetDropout, NetBatchNorm, NetResDeep, lambda: Net(n_chans1=6)],
)
def test_two_scores_per_image(build):
    model = build()
    assert model(torch.randn(3, 3, 32, 32)).shape == (3, 2)


def test_net_is_the_chain_of_its_layers():
    net = Net()
    chain = nn.Sequential(
        net.conv1, nn.Tanh(), nn.MaxPool2d(2), net.conv2, nn.Tanh(), nn.MaxPool2d(2), nn.Flatten(),
        net.fc1, nn.Tanh(), net.fc2,
    )  # fmt: skip
    x = torch.randn(4, 3, 32, 32)
    assert torch.allclose(net(x), chain(x), atol=1e-6)
    assert count_parameters(net) == 18_090
    assert count_parameters(net) * 50 < count_parameters(fully_connected())


def test_pooling_first_changes_nothing_but_time():
    slow, quick = Net(), NetPoolFirst()
    quick.load_state_dict(slow.state_dict())
    x = torch.randn(4, 3, 32, 32)
    assert torch.allclose(slow(x), quick(x), atol=1e-6)
    gradients = []
    for model in (slow, quick):
        F.cross_entropy(model(x), torch.tensor([0, 1, 1, 0])).backward()
        gradients.append(model.conv1.weight.grad)
    assert torch.allclose(*gradients, atol=1e-6)


def test_dropout_and_batch_norm_differ_between_train_and_eval():
    for build in (NetDropout, NetBatchNorm):
        model, x = build(), torch.randn(8, 3, 32, 32)
        with torch.no_grad():
            model.train()
            busy = model(x)
            model.eval()
            assert torch.equal(model(x), model(x))
            assert not torch.allclose(model(x), busy)
            assert torch.allclose(model(x)[:2], model(x[:2]), atol=1e-5)  # alone as in company


def test_skip_connection_carries_the_input():
    x = torch.randn(2, 5, 8, 8)
    for skip in (True, False):
        block = ResBlock(5, skip=skip, batch_norm=False)
        nn.init.zeros_(block.conv.weight)
        nn.init.zeros_(block.conv.bias)
        assert torch.equal(block(x), x if skip else torch.zeros_like(x))


def test_image_set_border_and_windows():
    pixels = torch.arange(2 * 5 * 5 * 3).reshape(2, 5, 5, 3).float()
    bordered = with_border(pixels, border=2)
    for image, wide in zip(pixels, bordered, strict=True):
        oracle = F.pad(image.permute(2, 0, 1)[None], (2, 2, 2, 2), mode="replicate")[0]
        assert torch.equal(wide.permute(2, 0, 1), oracle)


def test_cut_is_a_shift_and_half_are_mirrored():
    pixels = torch.rand(6, 32, 32, 3)
    chosen = torch.tensor([3, 0, 5, 1])
    got = cut(with_border(pixels), chosen, torch.Generator().manual_seed(0))
    assert got.shape == (4, 3, 32, 32)
    moves = [(d, r) for d in range(-BORDER, BORDER + 1) for r in range(-BORDER, BORDER + 1)]
    for place, index in enumerate(chosen):
        seen = got[place].flip(2) if place < 2 else got[place]
        original = pixels[index].permute(2, 0, 1)
        assert any(torch.equal(shift(original, *move), seen) for move in moves)


def test_cut_reaches_every_position():
    generator = torch.Generator().manual_seed(0)
    pixels = torch.arange(32.0)[:, None] + 100 * torch.arange(32.0)  # the value tells the place
    bordered = with_border(pixels[None, :, :, None].expand(1, 32, 32, 3))
    centres = cut(bordered, torch.zeros(4000, dtype=torch.long), generator)[2000:, 0, 16, 16]
    assert len(centres.unique()) == (2 * BORDER + 1) ** 2


def test_fit_is_plain_sgd_where_nothing_is_added():
    torch.manual_seed(0)
    data = ImageSet(torch.randn(64, 32, 32, 3), torch.randint(2, (64,)))
    one, two = Net(), Net()
    two.load_state_dict(one.state_dict())
    fit(one, data, 1, lr=0.1, batch_size=64, weight_decay=0.0, momentum=0.0, augmented=False, bfloat16=False)
    F.cross_entropy(two(data.images), data.labels).backward()
    # The first step's learning rate is a 25th of the highest.
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.allclose(a, b - 0.1 / 25 * b.grad, atol=1e-5)


def test_weight_decay_leaves_biases_alone():
    torch.manual_seed(0)
    data = ImageSet(torch.zeros(32, 32, 32, 3), torch.tensor([0, 1] * 16))
    model = Net()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    fit(model, data, 1, lr=0.1, batch_size=32, weight_decay=10.0, augmented=False, bfloat16=False)
    weight = model.conv1.weight
    # Black images give the first weights no gradient, so that only the decay moves them.
    assert torch.allclose(weight, before["conv1.weight"] * (1 - 0.1 / 25 * 10 * 1.9), atol=1e-5)


def test_same_seed_same_training():
    torch.manual_seed(0)
    data = ImageSet(torch.randn(128, 32, 32, 3), torch.randint(2, (128,)))
    losses = []
    for seed in (1, 1, 2):
        torch.manual_seed(0)
        losses.append(fit(Net(), data, 2, batch_size=32, seed=seed))
    assert losses[0] == pytest.approx(losses[1])
    assert losses[0] != losses[2]


def test_learning_rate_rises_once_and_falls_to_zero():
    factors = [up_and_down(100)(step) for step in range(101)]
    assert factors[0] == pytest.approx(0.04)
    assert max(factors) == factors[25] == 1.0
    assert factors[100] == pytest.approx(0.0)
    assert factors[:26] == sorted(factors[:26])
    assert factors[25:] == sorted(factors[25:], reverse=True)


def test_accuracy_of_a_known_answer():
    data = ImageSet(torch.zeros(10, 32, 32, 3), torch.tensor([0] * 7 + [1] * 3))

    class Always(nn.Module):
        def forward(self, x):
            return torch.tensor([[1.0, 0.0]]).expand(len(x), 2)

    assert accuracy_on(Always(), data, batch_size=4) == pytest.approx(0.7)


def test_benchmark_runs_both_ways(tmp_path, capsys, monkeypatch):
    draw.generate(tmp_path / "data", train_per_class=40, test_per_class=10)
    monkeypatch.setattr(benchmark.cifar10_files, "path", lambda: tmp_path / "data")
    monkeypatch.setattr(benchmark, "keep_freed_memory", lambda: None)  # for this whole process, otherwise
    benchmark.main(["--epochs", "1", "--json", str(tmp_path / "race.json")])
    assert "times the images per second" in capsys.readouterr().out
    assert (tmp_path / "race.json").is_file()
    with pytest.raises(SystemExit):
        benchmark.main(["--epochs", "0"])


def gap(result):
    return result["train"] - result["validation"]


@pytest.mark.lesson
def test_convolutions_beat_full_connections_on_drawings(drawn_sets):  # noqa: F811
    train, validation = drawn_sets
    full = trained_fully_connected(train, 0, 20)
    for seed in SEEDS:
        torch.manual_seed(seed)
        model = Net()
        fit(model, train, 14, lr=0.1, weight_decay=1e-3, augmented=False, seed=seed)
        assert accuracy_on(model, validation) >= accuracy_on(full, validation) + 0.05


@pytest.mark.lesson
@pytest.mark.parametrize("seed", SEEDS)
def test_convolutions_on_photographs(real_sets, seed):  # noqa: F811
    train, test = real_sets
    torch.manual_seed(seed)
    model = Net()
    fit(model, train, 10, lr=0.1, seed=seed)
    # The fully connected network stays at or below 0.83 here (chapter 7's tests).
    assert accuracy_on(model, test) >= 0.88


def regularized_gaps(train, validation, names):
    small = part_of(train, 1200)
    gaps = {name: [] for name in names}
    for seed in SEEDS:
        for name in names:
            gaps[name].append(gap(run(DESIGNS[name], small, validation, seed, n_epochs=16)))
    return {name: float(np.mean(values)) for name, values in gaps.items()}


@pytest.mark.lesson
def test_regularization_narrows_the_gap_on_drawings(drawn_sets):  # noqa: F811
    gaps = regularized_gaps(*drawn_sets, ["baseline", "L2", "dropout", "augmented"])
    assert gaps["baseline"] >= 0.08
    assert max(gaps["L2"], gaps["dropout"], gaps["augmented"]) < gaps["baseline"]


@pytest.mark.lesson
def test_regularization_narrows_the_gap_on_photographs(real_sets):  # noqa: F811
    gaps = regularized_gaps(*real_sets, ["baseline", "L2", "dropout"])
    assert max(gaps["L2"], gaps["dropout"]) < gaps["baseline"]


@pytest.mark.lesson
@pytest.mark.parametrize("seed", SEEDS)
def test_skip_connections_make_depth_trainable(drawn_sets, seed):  # noqa: F811
    train, validation = drawn_sets
    reached = {}
    for skip in (True, False):
        design = Design(
            lambda skip=skip: NetResDeep(16, 10, skip=skip, batch_norm=False), {"lr": 0.02, "batch_size": 128}
        )
        reached[skip] = run(design, train, validation, seed, n_epochs=10 if skip else 4)
    assert reached[True]["train"] >= 0.7
    assert reached[False]["train"] <= 0.55
    assert reached[False]["losses"][-1] == pytest.approx(np.log(2), abs=0.01)
