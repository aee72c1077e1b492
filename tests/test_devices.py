"""A GPU without a GPU: everything that takes tensors runs on PyTorch's fake CUDA without mixing devices.

Fake tensors have a shape, a type and a device and hold no numbers; an operation on two devices at once raises
as it would on a card. Backward passes do not work on them, so trainings are checked up to their loss.
"""

import contextlib
import importlib
import inspect
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily
from torch.overrides import TorchFunctionMode

from p1ch2 import captioner, classifier, depth, efficientnet, gan
from p1ch6.network import make_network
from p1ch7.training import accuracy
from p1ch8 import fast, race
from p1ch8 import model as convnets
from p1ch8.designs import DESIGNS
from p2ch11 import training as training11
from p2ch11.model import LunaBlock, LunaModel
from p2ch12 import metrics
from p2ch12.augment import ALL, augment
from p2ch12.training import LunaTrainingApp
from p2ch13.model import SegmentationAugmentation, UNetWrapper
from p2ch13.segment import segment, segment_plainly
from p2ch13.training import SegmentationTrainingApp
from p2ch14.malignancy import predict
from p2ch14.model import MalignancyModel, augment3d
from p2ch14.second_classifier import SMALL_CROP_IRC, SecondClassifier
from p2ch14.training import ClassificationTrainingApp
from p3ch15.evaluation import in_batches
from p3ch15.mobile.slices import SliceBlock, SliceConv, SliceLunaModel
from p3ch15.tracing import FlipWhenUnsure, FlipWhenUnsureCond
from tests.test_house import MODULES
from util import runtime
from util.errors import UserError
from util.paths import PROJECT
from util.runtime import get_device
from util.unet import UNet, UNetConvBlock, UNetUpBlock

pytestmark = pytest.mark.filterwarnings("ignore:.*CUDA is not available")

LEAVES = {torch.Tensor.cpu, torch.Tensor.tolist, torch.Tensor.item, torch.Tensor.numpy}


class LeavingTheDevice(TorchFunctionMode):
    """Where a fake tensor is fetched to the CPU for good, real zeros of its shape and type go on."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function in LEAVES or function in (
            torch.Tensor.__int__,
            torch.Tensor.__float__,
            torch.Tensor.__bool__,
        ):
            with unset_fake_temporarily():
                args = (torch.zeros(args[0].shape, dtype=args[0].dtype), *args[1:])
                return function(*args, **(kwargs or {}))
        return function(*args, **(kwargs or {}))


def move(module, *arguments, **options):
    """`nn.Module.to` by new parameters: the original exchanges the old ones' storage, and fake ones have none."""
    device, dtype, _, _ = torch._C._nn._parse_to(*arguments, **options)
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None:
                part._parameters[name] = nn.Parameter(
                    parameter.detach().to(device, dtype), parameter.requires_grad
                )
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = buffer.to(device, dtype if buffer.is_floating_point() else None)
    return module


@pytest.fixture
def cuda(monkeypatch):
    """A fake CUDA device, on which this test's tensors lie."""
    monkeypatch.setattr(nn.Module, "to", move)
    with FakeTensorMode(allow_non_fake_inputs=True), LeavingTheDevice():
        yield torch.device("cuda")


@contextlib.contextmanager
def autocast_as_on_a_card():
    """CUDA's autocast to bfloat16, which `torch.autocast` leaves off where there is no card.

    It refuses some operations, such as the cross-entropy of probabilities.
    """
    torch.set_autocast_dtype("cuda", torch.bfloat16)
    torch.set_autocast_enabled("cuda", True)
    try:
        yield
    finally:
        torch.set_autocast_enabled("cuda", False)


def crops(*shape, low=-1000, high=1000):
    return torch.empty(shape, device="cuda").uniform_(low, high)


CROP, SLICES, TINY = (2, 1, 32, 48, 48), (2, 7, 64, 64), (2, 3, 32, 32)
# How each network is made, and the shapes of what it takes.
NETWORKS = {
    LunaModel: (LunaModel, CROP),
    LunaBlock: (lambda: LunaBlock(1, 8), CROP),
    UNetWrapper: (UNetWrapper, SLICES),
    UNet: (lambda: UNet(7, 1, depth=3, wf=4, padding=True, batch_norm=True, up_mode="upsample"), SLICES),
    UNetConvBlock: (lambda: UNetConvBlock(7, 8, False, True), SLICES),
    UNetUpBlock: (lambda: UNetUpBlock(7, 8, "upconv", True, True), SLICES, (2, 8, 128, 128)),
    SecondClassifier: (SecondClassifier, (2, 1, *SMALL_CROP_IRC)),
    MalignancyModel: (MalignancyModel, CROP),
    convnets.Net: (convnets.Net, TINY),
    convnets.NetPoolFirst: (convnets.NetPoolFirst, TINY),
    convnets.NetWidth: (convnets.NetWidth, TINY),
    convnets.NetDropout: (convnets.NetDropout, TINY),
    convnets.NetBatchNorm: (convnets.NetBatchNorm, TINY),
    convnets.NetDepth: (convnets.NetDepth, TINY),
    convnets.NetRes: (convnets.NetRes, TINY),
    convnets.ResBlock: (lambda: convnets.ResBlock(3), TINY),
    convnets.Stack: (lambda: convnets.Stack(skip=True, kaiming=True), TINY),
    race.FlatConv2d: (lambda: race.FlatConv2d(3, 8), TINY),
    race.SpeedNet: (race.SpeedNet, TINY),
    convnets.NetResDeep: (convnets.NetResDeep, TINY),
    classifier.ResidualBlock: (lambda: classifier.ResidualBlock(3, 8, 2), TINY),
    classifier.AnimalNet: (lambda: classifier.AnimalNet(5), (2, 3, 64, 64)),
    gan.ResNetBlock: (lambda: gan.ResNetBlock(3), TINY),
    gan.ResNetGenerator: (gan.ResNetGenerator, (1, 3, 64, 64)),
    gan.PatchDiscriminator: (gan.PatchDiscriminator, (1, 3, 64, 64)),
    depth.Block: (lambda: depth.Block(3, True), TINY),
    efficientnet.SameConv2d: (lambda: efficientnet.SameConv2d(3, 8, 3, 2), TINY),
    efficientnet.InvertedBlock: (lambda: efficientnet.InvertedBlock(3, 3, 3, 1, 6), TINY),
    efficientnet.EfficientNetLite0: (efficientnet.EfficientNetLite0, (2, 3, 64, 64)),
    SegmentationAugmentation: (
        lambda: SegmentationAugmentation(flip=True, offset=0.1, scale=0.2, rotate=True, noise=25.0),
        SLICES,
        (2, 1, 64, 64),
    ),
    FlipWhenUnsure: (lambda: FlipWhenUnsure(LunaModel()), CROP),
    SliceLunaModel: (lambda: SliceLunaModel(LunaModel()), CROP),
}
# Networks without a row of their own, and why.
ELSEWHERE = {
    gan.CycleGan: "four networks with rows of their own, and their optimizers",
    FlipWhenUnsureCond: "torch.cond asks for numbers, which fake tensors lack; FlipWhenUnsure computes the same",
    captioner.Captioner: "takes words; see test_captions",
    SliceConv: "a part of SliceLunaModel",
    SliceBlock: "a part of SliceLunaModel",
}
FOR_CPUS = {
    "p3ch15.formats": "wraps networks for export from the CPU",
    "p2ch11.parallel": "wants several processes; torchrun is tested in test_p2ch11",
    "exercises": "a reader's network, on the CPU",
}


def networks_of_the_course():
    for path in MODULES:
        module = ".".join(path.relative_to(PROJECT).with_suffix("").parts)
        if "Module" not in path.read_text(encoding="utf-8") or path.parent.name in ("serve", "steps"):
            continue
        if any(module.endswith(name) for name in FOR_CPUS):
            continue
        for value in vars(importlib.import_module(module)).values():
            if inspect.isclass(value) and issubclass(value, nn.Module) and value.__module__ == module:
                yield value


def test_every_network_has_its_row():
    assert {c for c in networks_of_the_course() if c not in NETWORKS and c not in ELSEWHERE} == set()


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("name", NETWORKS, ids=lambda c: c.__name__)
def test_networks(name, training, cuda):
    build, *shapes = NETWORKS[name]
    network = build().to(cuda).train(training)
    out = network(*[crops(*shape) for shape in shapes])
    for part in out if isinstance(out, tuple) else (out,):
        assert part.device.type == "cuda"


def test_captions(cuda):
    network, pictures = captioner.Captioner().to(cuda).eval(), crops(2, 3, 64, 96)
    words = torch.zeros(2, captioner.LONGEST + 1, dtype=torch.long, device=cuda)
    assert network(pictures, words).device.type == "cuda"
    sentences, attention = network.describe(pictures)
    assert len(sentences) == 2
    assert attention.device.type == "cuda"


@pytest.mark.parametrize("name", DESIGNS)
def test_designs_of_chapter_8(name, cuda):
    assert DESIGNS[name].build().to(cuda)(crops(*TINY)).device.type == "cuda"


def test_chapter_6_s_network(cuda):
    assert make_network().to(cuda)(crops(11, 1)).shape == (11, 1)


def test_images_that_stay_on_the_device(cuda):
    """Chapter 8: normalized once, cut and mirrored there, counted there."""

    class Images:
        images = np.zeros((8, 32, 32, 3), dtype=np.uint8)
        labels = [0, 1] * 4

    data = fast.ImageSet.of(Images, cuda)
    assert data.images.device.type == "cuda"
    bordered = fast.with_border(data.pixels)
    batch = fast.cut(bordered, torch.zeros(4, dtype=torch.long, device=cuda))
    assert (batch.shape, batch.device.type) == ((4, 3, 32, 32), "cuda")
    model = convnets.Net().to(cuda)
    assert fast.accuracy_on(model, data, batch_size=4) >= 0
    batches = [(torch.zeros(TINY), torch.zeros(2, dtype=torch.long))]
    assert accuracy(model, batches, cuda) >= 0


@pytest.mark.parametrize("shape", [CROP, SLICES])
def test_augmentation(shape, cuda):
    batch = augment(crops(*shape), ALL)
    assert (batch.shape, batch.device.type) == (shape, "cuda")


def test_chapter_14_s_augmentation(cuda):
    assert augment3d(crops(*CROP)).device.type == "cuda"


@pytest.mark.parametrize("training", [True, False], ids=["training", "validation"])
@pytest.mark.parametrize(
    ("app_class", "options"),
    [
        (training11.LunaTrainingApp, {}),
        (LunaTrainingApp, {"balanced": True, "augmented": True}),
        (ClassificationTrainingApp, {"malignant": True, "augmented": True}),
        (SegmentationTrainingApp, {"augmented": True}),
    ],
    ids=lambda value: getattr(value, "chapter", ""),
)
def test_losses(app_class, options, training, cuda, clean_output):
    app = app_class(device="cuda", comment="fake", **options)
    app.model.train(training)
    metrics_g = torch.zeros(app.metrics_size, 2, device=cuda)
    if app_class is SegmentationTrainingApp:
        batch = torch.zeros(SLICES), torch.zeros(2, 1, 64, 64, dtype=torch.bool), ["a", "b"], [0, 1]
    else:
        batch = torch.zeros(CROP), torch.tensor([[0, 1], [1, 0]]), ["a", "b"], torch.zeros(2, 3)
    with autocast_as_on_a_card():
        loss = app.computeBatchLoss(0, batch, 2, metrics_g)
    assert (loss.shape, loss.device.type) == ((), "cuda")


def test_metrics(cuda, monkeypatch):
    label, score = crops(20) > 0, crops(20)
    assert len(metrics.confusion(label, score > 0)) == 4
    assert len(metrics.precision_recall_f1(label, score > 0)) == 3
    # How many distinct scores there are is a number, which fake tensors lack: as many as there are scores.
    counts = (
        score,
        torch.zeros(20, dtype=torch.float64, device=cuda),
        torch.zeros(20, dtype=torch.float64, device=cuda),
    )
    monkeypatch.setattr(metrics, "_counts_by_threshold", lambda label, score: counts)
    for curve in (metrics.roc_curve, metrics.pr_curve):
        assert {values.device.type for values in curve(label, score)} == {"cuda"}
    assert isinstance(metrics.roc_auc(label, score), float)
    assert isinstance(metrics.average_precision(label, score), float)


def test_segmenting_a_scan(cuda):
    model = UNetWrapper().to(cuda).eval()
    hu = np.full((4, 64, 64), -900, dtype=np.int16)
    for mask in (segment(model, hu, batch_size=2), segment_plainly(model, hu)):
        assert (mask.shape, mask.dtype) == (hu.shape, bool)


def test_judging_malignancy(cuda):
    items = [(torch.zeros(CROP[1:]), 0) for _ in range(3)]
    assert predict(LunaModel().to(cuda), items, batch_size=2, device="cuda").shape == (3,)


def test_evaluating_an_export(cuda):
    network = LunaModel().to(cuda).eval()
    assert in_batches(network, crops(3, *CROP[1:]), size=2).shape == (3, 2)


def test_what_autocast_refuses_is_noticed(cuda):
    """What `test_losses` relies on."""
    with autocast_as_on_a_card(), pytest.raises(RuntimeError, match="unsafe to autocast"):
        nn.functional.binary_cross_entropy(crops(3, low=0, high=1), crops(3, low=0, high=1))


def test_mixing_devices_is_noticed(cuda):
    """What the others rely on."""
    with pytest.raises(RuntimeError, match="device"):
        LunaModel()(crops(*CROP))
    with pytest.raises(RuntimeError, match="device"):
        torch.cat([torch.zeros(1), crops(1)])


@pytest.mark.parametrize("kind", ["cuda", "mps", "xpu"])
def test_the_accelerator_that_is_there_is_taken(kind, monkeypatch):
    monkeypatch.delenv("COURSE_DEVICE", raising=False)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: torch.device(kind))
    assert get_device() == torch.device(kind)
    monkeypatch.setenv("COURSE_DEVICE", "cpu")
    assert get_device() == torch.device("cpu")


def test_without_accelerator_the_cpu_is_taken(monkeypatch):
    monkeypatch.delenv("COURSE_DEVICE", raising=False)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: None)
    assert get_device() == torch.device("cpu")
    monkeypatch.setenv("COURSE_DEVICE", "toaster")
    with pytest.raises(UserError, match="doctor"):
        get_device()


@pytest.mark.parametrize(("kind", "fast"), [("mps", False), ("meta", False)])
def test_bfloat16_is_used_only_where_it_is_known_to_be_fast(kind, fast):
    assert runtime.has_fast_bfloat16(torch.device(kind)) == fast


def test_every_core_takes_an_item_and_results_come_in_order():
    taken = []

    def items():
        for number in range(7):
            taken.append(number)
            yield number

    def work(number):
        return number, torch.get_num_threads(), threading.get_ident()

    with runtime.on_threads(2):
        results = runtime.on_each_core(work, items(), torch.device("cpu"))
        assert next(results)[0] == 0
        assert len(taken) == 3  # no more than are soon needed
        results = [(0, 1, 0), *results]
        assert [number for number, *_ in results] == list(range(7))
        assert {threads for _, threads, _ in results} == {1}
        assert threading.get_ident() not in {where for *_, where in results}
        assert torch.get_num_threads() == 2
        later = ThreadPoolExecutor(1).submit(torch.get_num_threads)
        assert later.result() == 2
    with runtime.on_threads(1):  # nothing to share
        assert {where for *_, where in runtime.on_each_core(work, range(3), torch.device("cpu"))} == {
            threading.get_ident()
        }
    assert {where for *_, where in runtime.on_each_core(work, range(3), torch.device("meta"))} == {
        threading.get_ident()
    }


def test_what_fails_on_a_core_fails_here_and_ends_the_rest():
    done = []

    def work(number):
        if number == 1:
            raise ValueError("item 1")
        done.append(number)

    with runtime.on_threads(2), pytest.raises(ValueError, match="item 1"):
        list(runtime.on_each_core(work, range(100), torch.device("cpu")))
    assert len(done) < 10
