"""Muon and AdamW as one optimizer: what each gets, its steps, and carrying on."""

import copy

import pytest
import torch
from torch import nn

from p2ch11.model import LunaModel
from p2ch11.muon import MuonWithAdamW
from p2ch11.training import LunaTrainingApp
from p2ch13.model import UNetWrapper
from util.errors import UserError

INPUTS = torch.randn(4, 1, 8, 8, 8, generator=torch.Generator().manual_seed(1))


def network():
    torch.manual_seed(0)
    layers = nn.Conv3d(1, 4, 3), nn.ReLU(), nn.Conv3d(4, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(384, 2)
    return nn.Sequential(*layers)


def steps(model, optimizer, count):
    for _ in range(count):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(INPUTS), torch.tensor([0, 1, 0, 1])).backward()
        optimizer.step()


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last_3d])
def test_steps_are_those_of_both_optimizers(memory_format):
    """The oracle: the middle convolution's step by `torch.optim.Muon` on its flattened weights, AdamW's of all else."""
    model, alone = network().to(memory_format=memory_format), network()
    kernel = alone[2].weight
    matrix = nn.Parameter(kernel.detach().flatten(1).clone())
    muon = torch.optim.Muon([matrix], lr=0.01, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    adamw = torch.optim.AdamW([p for p in alone.parameters() if p is not kernel], lr=0.01, weight_decay=0.1)
    steps(model, MuonWithAdamW(model, lr=0.01, weight_decay=0.1), 3)
    for _ in range(3):
        alone.zero_grad()
        nn.functional.cross_entropy(alone(INPUTS), torch.tensor([0, 1, 0, 1])).backward()
        matrix.grad = kernel.grad.flatten(1)
        muon.step()
        adamw.step()
        kernel.data.copy_(matrix.detach().view_as(kernel))
    for own, expected in zip(model.parameters(), alone.parameters()):
        torch.testing.assert_close(own, expected, rtol=1e-3, atol=1e-4)
    assert not torch.equal(model[2].weight, network()[2].weight)


@pytest.mark.parametrize(("model", "count"), [(LunaModel(), 7), (UNetWrapper(7), 12)])
def test_convolutions_with_several_channels_on_both_sides_are_muons(model, count):
    optimizer = MuonWithAdamW(model, lr=0.01)
    assert len(optimizer.matrices) == count
    ours = sum(p.numel() for group in optimizer.param_groups for p in group["params"])
    assert ours == sum(p.numel() for p in model.parameters())


def test_what_is_frozen_stays():
    model = network()
    model[2].requires_grad_(False)
    before = model[2].weight.clone()
    steps(model, MuonWithAdamW(model, lr=0.01), 2)
    assert torch.equal(model[2].weight, before)


def test_carrying_on_is_as_if_nothing_had_been():
    whole = network()
    steps(whole, MuonWithAdamW(whole, lr=0.01), 4)
    first = network()
    optimizer = MuonWithAdamW(first, lr=0.01)
    steps(first, optimizer, 2)
    state = copy.deepcopy(optimizer.state_dict())
    # As in a resumed training: the optimizer is there before the weights are filled in.
    second = network()
    optimizer = MuonWithAdamW(second, lr=0.5)
    second.load_state_dict(first.state_dict())
    optimizer.load_state_dict(state)
    steps(second, optimizer, 2)
    for own, expected in zip(second.parameters(), whole.parameters()):
        assert torch.equal(own, expected)


def test_a_learning_rate_set_in_the_groups_serves_both():
    model = network()
    optimizer = MuonWithAdamW(model, lr=0.01)
    before = [p.clone() for p in model.parameters()]
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    steps(model, optimizer, 1)
    assert all(torch.equal(*pair) for pair in zip(model.parameters(), before))


def test_a_training_with_muon_resumes_only_as_such(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_OUTPUT", str(tmp_path))
    monkeypatch.setattr(LunaTrainingApp, "initModel", lambda self: self.to_device(network()))
    app = LunaTrainingApp(muon=True, comment="resumed", device="cpu")
    steps(app.model, app.optimizer, 2)
    app.saveModel("cls", 1)
    again = LunaTrainingApp(muon=True, comment="resumed", device="cpu", resume=True)
    assert again.optimizer.state_dict()["muon"]["state"]
    with pytest.raises(UserError, match="--muon True, not False"):
        LunaTrainingApp(comment="resumed", device="cpu", resume=True)
