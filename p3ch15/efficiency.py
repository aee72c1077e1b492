"""Three ways to a smaller classifier, compared (chapter 15, "Improving efficiency").

    python -m p3ch15.efficiency            8 bits, pruning and a smaller design: size, latency, AUC
    python -m p3ch15.efficiency --crops 1000 --json F    on more crops, and written to a file
    python -m p3ch15.efficiency --train    trains the smaller design again (minutes) into data/p3ch15

All of it on generated patients.
"""

import argparse
import copy
import json
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path

from torch import nn
from torch.nn.utils import prune

from p2ch11.model import LunaModel
from p2ch11.training import load_weights
from p2ch12.training import LunaTrainingApp
from p3ch15.chatter import quiet
from p3ch15.evaluation import (
    Milliseconds,
    area,
    calibration_crops,
    evaluation_crops,
    in_batches,
    milliseconds,
    weights_bytes,
    zipped_bytes,
)
from p3ch15.formats import open_export, to_onnx
from p3ch15.networks import NETWORKS
from util.errors import main_guard
from util.files import atomic_path
from util.paths import PROJECT, output_root
from util.runtime import on_threads
from util.weights import save_weights

SMALL_CHANNELS = 4
SMALL_WEIGHTS = PROJECT / "data" / "p3ch15" / "small.safetensors"


def small_model() -> LunaModel:
    """The smaller design, with its shipped weights: half the channels, a quarter of the arithmetic."""
    return load_weights(LunaModel(conv_channels=SMALL_CHANNELS), SMALL_WEIGHTS).eval()


class SmallLunaTrainingApp(LunaTrainingApp):
    """Chapter 12's training of the smaller design."""

    chapter = "p3ch15"

    def initModel(self):
        return self.to_device(LunaModel(conv_channels=SMALL_CHANNELS))


def to_int8_onnx(path, calibration) -> Path:
    """Write the classifier as ONNX in 8 bits, weights and activations; returns the path.

    calibration: typical crops (N, 1, 32, 48, 48); their activations say which range 256 steps must cover.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Crops(CalibrationDataReader):
        def __init__(self):
            self.rest = iter(calibration.split(1))

        def get_next(self):
            crop = next(self.rest, None)
            return None if crop is None else {"crops": crop.numpy()}

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    plain, ready = path.with_suffix(".plain.onnx"), path.with_suffix(".ready.onnx")
    try:
        with quiet(), atomic_path(path) as temporary:
            to_onnx(NETWORKS["classification"], plain)
            quant_pre_process(str(plain), str(ready), skip_symbolic_shape=True)
            quantize_static(
                str(ready),
                str(temporary),
                Crops(),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                weight_type=QuantType.QInt8,
                activation_type=QuantType.QUInt8,
                op_types_to_quantize=["Conv", "Gemm", "MaxPool", "Relu"],
            )
    finally:
        plain.unlink(missing_ok=True)
        ready.unlink(missing_ok=True)
    return path


def pruned(model, share) -> nn.Module:
    """A copy of `model` whose smallest weights are zero, `share` of those of all convolutions together."""
    model = copy.deepcopy(model)
    targets = [(module, "weight") for module in model.modules() if isinstance(module, nn.Conv3d)]
    prune.global_unstructured(targets, pruning_method=prune.L1Unstructured, amount=share)
    for module, name in targets:
        prune.remove(module, name)  # the mask becomes part of the weights
    return model.eval()


@dataclass
class Variant:
    """One line of the comparison. Sizes in kB (1,000 bytes)."""

    name: str
    kilobytes: float
    zipped_kilobytes: float
    milliseconds: Milliseconds
    auc: float


def compare(crops, is_nodule, folder=None) -> list[Variant]:
    """Size, latency of one crop, and area under the ROC curve of every variant.

    folder: where the files are written; default `output/efficiency`.
    """
    folder = Path(folder or output_root() / "efficiency")
    full = NETWORKS["classification"].build()

    def of_file(name, path):
        run, data = open_export(path), path.read_bytes()
        auc = area(in_batches(run, crops), is_nodule)
        return Variant(
            name, len(data) / 1e3, len(zlib.compress(data)) / 1e3, milliseconds(run, crops[:1]), auc
        )

    def of_model(name, model):
        auc = area(in_batches(model, crops), is_nodule)
        sizes = weights_bytes(model) / 1e3, zipped_bytes(model) / 1e3
        return Variant(name, *sizes, milliseconds(model, crops[:1]), auc)

    plain, eight = folder / "classification.onnx", folder / "classification-int8.onnx"
    to_onnx(NETWORKS["classification"], plain)
    to_int8_onnx(eight, calibration_crops())
    return [
        of_model("eager PyTorch, float32", full),
        of_file("ONNX, float32", plain),
        of_file("ONNX, 8 bits", eight),
        *(of_model(f"eager, {share:.0%} of weights zero", pruned(full, share)) for share in (0.5, 0.7, 0.9)),
        of_model(f"eager, half the channels ({SMALL_CHANNELS})", small_model()),
    ]


def train_small():
    """Train the smaller design and make the result the shipped one."""
    length = ["--epochs", "8", "--epoch-samples", "3000", "--one-cycle", "--val-every", "0"]
    app = SmallLunaTrainingApp([*length, "--balanced", "--augmented", "small"])
    app.main()
    save_weights(SMALL_WEIGHTS, app.model.state_dict())


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m p3ch15.efficiency", description=__doc__.splitlines()[0])
    parser.add_argument("--train", action="store_true", help="train the smaller design again first")
    parser.add_argument("--crops", type=int, default=300, help="held-out crops; all nodules are among them")
    parser.add_argument("--threads", type=int, default=2, help="for PyTorch and onnxruntime")
    parser.add_argument("--json", help="also write the figures to this file")
    options = parser.parse_args(arguments)
    if options.train:
        train_small()
    crops, is_nodule = evaluation_crops(options.crops, nodules=10**6)
    setting = {"crops": len(crops), "nodules": int(is_nodule.sum()), "threads": options.threads}
    print("held-out, of generated patients: " + ", ".join(f"{count} {of}" for of, count in setting.items()))
    with on_threads(options.threads):
        variants = compare(crops, is_nodule)
    print_variants(variants)
    if options.json:
        record = setting | {"variants": [asdict(v) for v in variants]}
        with atomic_path(options.json) as temporary:
            temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def print_variants(variants):
    """The comparison as a table; times as median (shortest-longest)."""
    print(f"{'':34} {'kB':>7} {'zipped':>7} {'ms a crop':>20} {'AUC':>7}")
    for v in variants:
        print(f"{v.name:34} {v.kilobytes:7.0f} {v.zipped_kilobytes:7.0f} {v.milliseconds:20.1f} {v.auc:7.4f}")


if __name__ == "__main__":
    main_guard(main)
