"""Chapter 7: drawings in CIFAR-10's files, the datasets, the loss, and what a fully connected network cannot do."""

import io
import pickle
import tarfile

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from p1ch7 import cifar10_files, draw, photographs
from p1ch7.images import CIFAR10, MEAN, STD, BirdsAndAirplanes, denormalize, to_normalized_tensor
from p1ch7.training import (
    accuracy,
    accuracy_moved,
    count_parameters,
    fully_connected,
    minibatches,
    shift,
    train_fully_connected,
    training_loop,
)
from p1ch8.designs import part_of
from p1ch8.fast import ImageSet, accuracy_on, fit
from util.datasets import Found
from util.errors import UserError

SEEDS = (0, 1, 2)


def write_real_birds_and_airplanes(archive, folder):
    """Decode the JPEGs of `archive` into CIFAR-10's pickles: five training batches and a test batch."""
    target = folder / "cifar-10-batches-py"
    target.mkdir(parents=True)
    found = {"train": [], "test": []}
    with tarfile.open(archive) as tar:
        for member in tar:
            if member.isfile():
                part, name, _ = member.name.split("/")
                image = Image.open(io.BytesIO(tar.extractfile(member).read())).convert("RGB")
                pixels = np.asarray(image).transpose(2, 0, 1).reshape(-1)  # (3072,)
                found[part].append((pixels, draw.CLASSES.index(name)))
    for part, items in found.items():
        order = np.random.default_rng(0).permutation(len(items))
        data, labels = np.stack([items[i][0] for i in order]), [items[i][1] for i in order]
        count = 5 if part == "train" else 1
        for number in range(count):
            name = f"data_batch_{number + 1}" if part == "train" else "test_batch"
            draw.write_batch(target / name, data[number::count], labels[number::count])
    draw.write_names(target / "batches.meta", 2000)
    return folder


@pytest.fixture(scope="session")
def drawn_sets():
    root = cifar10_files.generated_path()
    if not root.exists():
        root = cifar10_files._generated()
    return ImageSet.of(BirdsAndAirplanes(root)), ImageSet.of(BirdsAndAirplanes(root, train=False))


@pytest.fixture(scope="session")
def real_root(real_data, tmp_path_factory):
    archive = real_data / "cifar10" / "birds_airplanes_jpeg.tar"
    if not archive.is_file():
        pytest.skip("no real birds and airplanes in COURSE_REAL")
    return write_real_birds_and_airplanes(archive, tmp_path_factory.mktemp("cifar"))


@pytest.fixture(scope="session")
def real_sets(real_root):
    return ImageSet.of(BirdsAndAirplanes(real_root)), ImageSet.of(BirdsAndAirplanes(real_root, train=False))


@pytest.fixture(scope="module")
def small_root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small")
    draw.generate(folder, train_per_class=10, test_per_class=4)
    return folder


def test_files_are_read_like_the_original(small_root):
    with open(small_root / "cifar-10-batches-py" / "data_batch_2", "rb") as file:
        batch = pickle.load(file, encoding="bytes")
    assert set(batch) == {b"batch_label", b"labels", b"data", b"filenames"}
    assert batch[b"data"].shape == (20, 3072)
    assert batch[b"data"].dtype == np.uint8
    data = CIFAR10(small_root)
    assert len(data) == 100
    assert data.classes == list(draw.CLASSES)
    assert sorted(data.targets) == sorted(list(range(10)) * 10)
    image, label = data[20]  # the first one of the second batch
    planes = batch[b"data"][0].reshape(3, 32, 32)
    assert np.array_equal(np.asarray(image), planes.transpose(1, 2, 0))
    assert label == batch[b"labels"][0]


@pytest.mark.parametrize("name", draw.CLASSES)
def test_same_seed_same_drawings_and_no_two_alike(name):
    one, again, other = draw.draw(name, 30, 3), draw.draw(name, 30, 3), draw.draw(name, 30, 4)
    assert one.shape == (30, 3, 32, 32)
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert len(torch.unique(one.flatten(1), dim=0)) == 30


def test_shapes_cover_what_geometry_says():
    canvas = draw.Canvas(3, torch.Generator().manual_seed(0))
    white = torch.ones(3, 3, 1, 1)
    for distance, area in (
        (canvas.ellipse(0.0, 0.0, 0.5, 0.5), np.pi * 0.25),
        (canvas.polygon((-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)), 1.0),
        (canvas.polygon((-0.5, -0.5), (-0.5, 0.5), (0.5, -0.5)), 0.5),
        (canvas.capsule(-0.5, 0.0, 0.5, 0.0, 0.2), 0.4 + np.pi * 0.04),
    ):
        canvas.image = torch.zeros(3, 3, 32, 32)
        canvas.fill(distance, white)
        covered = canvas.image.mean((1, 2, 3)) * 4  # the frame is 2 wide and 2 high
        assert covered.numpy() == pytest.approx(area, rel=0.05)


def centre_of_what_stands_out(images):
    """Columns and rows off the middle, (N,) each: the centroid of what differs from the border's color."""
    border = torch.cat([images[:, :, 0], images[:, :, -1], images[..., 0], images[..., -1]], -1)
    stands_out = (images - border.median(-1).values[:, :, None, None]).square().sum(1)  # (N, 32, 32)
    weight = stands_out / stands_out.sum((1, 2), keepdim=True)
    pixel = torch.arange(32) - 15.5
    return (weight.sum(1) * pixel).sum(1), (weight.sum(2) * pixel).sum(1)


@pytest.mark.parametrize("name", ["airplane", "bird"])
def test_birds_and_airplanes_stand_apart_as_in_photographs(name):
    # Photographs of CIFAR-10: a standard deviation of 1.8 (airplanes) and 2.5 (birds) pixels from left to right.
    columns, rows = centre_of_what_stands_out(draw.draw(name, 500, 1) / 255)
    assert 1.6 <= columns.std() <= 2.6
    assert abs(columns.mean()) < 0.5


def test_missing_files_are_named(tmp_path):
    with pytest.raises(UserError, match="data_batch_1"):
        CIFAR10(tmp_path)


def test_birds_and_airplanes_are_the_right_ones(small_root):
    whole, two = CIFAR10(small_root), BirdsAndAirplanes(small_root)
    assert len(two) == 20
    assert sorted(two.labels) == [0] * 10 + [1] * 10
    wanted = [(i, label) for i, label in enumerate(whole.targets) if label in (0, 2)]
    for number, (index, label) in enumerate(wanted):
        image, new = two[number]
        assert np.array_equal(np.asarray(image), whole.data[index])
        assert new == {0: 0, 2: 1}[label]


def test_normalizing_and_back(small_root):
    plain, normal = (
        BirdsAndAirplanes(small_root),
        BirdsAndAirplanes(small_root, transform=to_normalized_tensor()),
    )
    image = torch.from_numpy(np.array(plain[3][0])).permute(2, 0, 1) / 255
    by_hand = torch.stack([(image[c] - MEAN[c]) / STD[c] for c in range(3)])
    assert torch.allclose(normal[3][0], by_hand, atol=1e-6)
    assert torch.allclose(denormalize(normal[3][0]), image, atol=1e-6)
    assert torch.allclose(ImageSet.of(plain).images[3], by_hand, atol=1e-6)


def test_fully_connected_gives_log_probabilities():
    model = fully_connected(7)
    out = model(torch.randn(5, 3, 32, 32))
    assert torch.allclose(out.exp().sum(1), torch.ones(5), atol=1e-5)
    assert count_parameters(model) == 3073 * 7 + 8 * 2
    assert count_parameters(fully_connected()) == 1_574_402


def test_loop_learns_and_accuracy_counts():
    torch.manual_seed(0)
    images = torch.randn(64, 3, 32, 32)
    labels = (images.mean((1, 2, 3)) > 0).long()
    loader = torch.utils.data.DataLoader(list(zip(images, labels, strict=True)), batch_size=16)
    model = fully_connected(16)
    before = (model(images).argmax(1) == labels).float().mean()
    assert accuracy(model, loader) == pytest.approx(before.item())
    losses = training_loop(30, torch.optim.SGD(model.parameters(), lr=0.05), model, nn.NLLLoss(), loader)
    assert len(losses) == 30
    assert losses[-1] < 0.1 < losses[0]
    assert accuracy(model, loader) == 1.0


def test_accuracy_leaves_the_mode_as_it_was():
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.9), nn.Linear(3072, 2))
    loader = [(torch.randn(8, 3, 32, 32), torch.zeros(8, dtype=torch.long))]
    model.train()
    assert accuracy(model, loader) == accuracy(model, loader)  # no dropout while measuring
    assert model.training


def test_shift_moves_down_and_right_and_repeats_the_edge():
    image = torch.arange(12).reshape(1, 3, 4)
    moved = shift(image, 1, 2)
    assert torch.equal(moved[0, 1:, 2:], image[0, :-1, :-2])
    assert torch.equal(moved[0, 0], torch.tensor([0, 0, 0, 1]))
    assert torch.equal(shift(image, 0, 0), image)
    assert torch.equal(shift(image, 0, -1)[0, :, -1], image[0, :, -1])


def test_minibatches_show_every_image_once_and_in_another_order_each_time():
    images, labels = torch.arange(10.0)[:, None], torch.arange(10)
    torch.manual_seed(0)
    passes = [list(minibatches(images, labels, 4)) for _ in range(2)]
    for batches in passes:
        assert [len(y) for _, y in batches] == [4, 4, 2]
        assert sorted(torch.cat([y for _, y in batches]).tolist()) == list(range(10))
        assert all(torch.equal(x[:, 0].long(), y) for x, y in batches)
    orders = [torch.cat([y for _, y in batches]) for batches in passes]
    assert not torch.equal(*orders)


def test_a_seed_makes_the_same_network_again():
    images, labels = torch.randn(40, 3, 32, 32), torch.arange(40) % 2
    one, again, other = (
        train_fully_connected(images, labels, 2, seed, n_hidden=8)(images) for seed in (0, 0, 1)
    )
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_accuracy_moved_is_the_mean_of_four_directions():
    images, labels = torch.zeros(1, 3, 8, 8), torch.tensor([1])
    images[..., 2, 4] = 1.0

    def bright_in_row_2(x):  # moved up or down by two, the spot has left that row
        return torch.stack([torch.full((len(x),), 0.5), x[:, 0, 2].amax(1)], 1)

    class Model(nn.Module):
        forward = staticmethod(bright_in_row_2)

    assert accuracy_moved(Model(), images, labels, 2) == 0.5
    assert accuracy_moved(Model(), images, labels, 0) == 1.0


def test_photographs_are_the_same_from_an_archive_as_from_files(small_root, tmp_path):
    archive = tmp_path / "copies.tar"
    with tarfile.open(archive, "w") as tar:
        for part in ("train", "test"):
            for number, (image, label) in enumerate(BirdsAndAirplanes(small_root, train=part == "train")):
                content = io.BytesIO()
                image.save(content, "PNG")  # without loss, whatever the file's name says
                entry = tarfile.TarInfo(f"{part}/{('airplane', 'bird')[label]}/{number:04}.jpg")
                entry.size = len(content.getvalue())
                tar.addfile(entry, io.BytesIO(content.getvalue()))
    for (images, labels), (copies, names) in zip(
        photographs.read_photographs(small_root), photographs.read_photographs(archive), strict=True
    ):
        assert torch.equal(names.sort().values, names)  # the archive is read in order of its names
        assert torch.equal(images[labels.argsort(stable=True)], copies)
    with pytest.raises(UserError, match="neither"):
        photographs.read_photographs(tmp_path / "nothing.tar")


def test_the_command_records_what_it_measures(small_root, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(photographs, "RECORD", tmp_path / "record.json")
    monkeypatch.setattr(photographs.cifar10_files, "locate", lambda: Found(small_root, False))
    photographs.main(["--real", str(small_root), "--epochs", "1", "--write"])
    record = photographs.read_record(tmp_path / "record.json")
    assert record["photographs"] == "CIFAR-10"
    assert record["accuracy"].keys() == {"20 drawings", "20 photographs"}
    for rows in record["accuracy"].values():
        assert all(0 <= value <= 1 for values in rows.values() for value in values)
        assert len(rows["validation, moved"]) == len(record["seeds"]) == 3
    assert "validation, moved" in capsys.readouterr().out


def test_the_record_is_of_the_drawings_as_they_are():
    assert photographs.read_record()["drawings"] == f"{cifar10_files.name}-{cifar10_files.version}"


def trained_fully_connected(data, seed, n_epochs):
    torch.manual_seed(seed)
    model = fully_connected()
    fit(
        model, data, n_epochs, lr=0.03, batch_size=64, weight_decay=0.0, augmented=False, seed=seed,
        loss_fn=F.nll_loss,
    )  # fmt: skip
    return model


FEW = 3000  # images: enough to tell, and quick


@pytest.mark.lesson
@pytest.mark.parametrize("seed", SEEDS)
def test_fully_connected_remembers_drawings(drawn_sets, seed):
    train, validation = part_of(drawn_sets[0], FEW), drawn_sets[1]
    model = trained_fully_connected(train, seed, 30)
    on_train, on_validation = accuracy_on(model, train), accuracy_on(model, validation)
    assert on_train >= 0.95
    assert on_validation <= on_train - 0.08
    assert on_validation >= 0.6
    # What it knows by heart it knows in its place: moved, the training images are as good as new ones.
    assert accuracy_moved(model, train.images, train.labels, 4) <= on_train - 0.15


@pytest.mark.lesson
@pytest.mark.parametrize("seed", SEEDS)
def test_fully_connected_remembers_photographs(real_sets, seed):
    train, test = part_of(real_sets[0], FEW), real_sets[1]
    model = trained_fully_connected(train, seed, 20)
    on_train, on_test = accuracy_on(model, train), accuracy_on(model, test)
    assert on_train >= 0.97
    assert 0.7 <= on_test <= 0.82
    assert on_test <= on_train - 0.08
    assert accuracy_moved(model, train.images, train.labels, 4) <= on_train - 0.10
