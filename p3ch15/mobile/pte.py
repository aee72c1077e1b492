"""ExecuTorch files of the classifier, in float and in 8 bits (chapter 15, "Going mobile").

    python -m p3ch15.mobile.pte --out output/mobile

writes `nodule.pte`, `nodule-int8.pte` and, for the Android project, eight crops (`crops.f32`); runs both
networks on held-out crops, and says how they compare.
"""

import argparse
import time
from pathlib import Path

import torch

from p3ch15.chatter import quiet
from p3ch15.evaluation import area, calibration_crops, evaluation_crops, in_batches
from p3ch15.mobile.runtime import open_pte, require_executorch
from p3ch15.mobile.slices import SliceLunaModel
from p3ch15.networks import NETWORKS
from util.errors import main_guard
from util.files import atomic_path
from util.paths import output_root, shown


def quantized(model, calibration):
    """A `SliceLunaModel` in 8 bits (torchao's PT2E): weights per channel, activations by the ranges seen.

    calibration: typical inputs, (N, ...), fed one at a time.
    """
    require_executorch()
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
    quantizer.set_filter_function(_may_be_rounded)
    with quiet(), torch.no_grad():
        observed = prepare_pt2e(torch.export.export(model, (calibration[:1],)).module(), quantizer)
        for crop in calibration.split(1):
            observed(crop)
        return convert_pt2e(observed)


def _may_be_rounded(node) -> bool:
    """All but the first convolution: 256 steps for 2000 HU are 8 HU each, too coarse for faint nodules."""
    return node.target != torch.ops.aten.add.Tensor and "blocks.0.conv1" not in str(
        node.meta.get("nn_module_stack", "")
    )


def to_pte(model, example, path) -> Path:
    """Write `model` (a module for inputs shaped like `example`) for ExecuTorch with XNNPACK."""
    require_executorch()
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    with quiet(), torch.no_grad(), atomic_path(path) as temporary:
        exported = torch.export.export(model, (example,))
        lowered = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()])
        temporary.write_bytes(lowered.to_executorch().buffer)
    return Path(path)


def write_both(folder, calibration, network=None):
    """Write the classifier in float and in 8 bits; returns both paths.

    network: a `LunaModel` in evaluation mode, default the shipped one.
    """
    model = SliceLunaModel(network or NETWORKS["classification"].build()).eval()
    example = NETWORKS["classification"].example(1)
    folder = Path(folder)
    plain = to_pte(model, example, folder / "nodule.pte")
    small = to_pte(quantized(model, calibration), example, folder / "nodule-int8.pte")
    return plain, small


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m p3ch15.mobile.pte", description=__doc__.splitlines()[0])
    parser.add_argument("--out", default=None, help="folder, default output/mobile")
    options = parser.parse_args(arguments)
    require_executorch()
    crops, is_nodule = evaluation_crops(100)
    eager = in_batches(NETWORKS["classification"].build(), crops)
    print(f"{'file':42} {'KB':>6} {'ms a crop':>10} {'AUC':>7}  largest difference of a logit")
    for path in write_both(options.out or output_root() / "mobile", calibration_crops()):
        run = open_pte(path)
        run(crops[:1])
        start = time.perf_counter()
        logits = in_batches(run, crops)
        milliseconds = 1e3 * (time.perf_counter() - start) / len(crops)
        far = (logits - eager).abs().max().item()
        kilobytes = path.stat().st_size / 1e3
        print(
            f"{shown(path):42} {kilobytes:6.0f} {milliseconds:10.2f} {area(logits, is_nodule):7.4f}  {far:.2g}"
        )
    some = torch.cat([crops[is_nodule][:4], crops[~is_nodule][:4]])
    with atomic_path(path.parent / "crops.f32") as temporary:
        some.numpy().tofile(temporary)
    said = in_batches(run, some).softmax(1)[:, 1]
    print(f"{'(eager PyTorch)':42} {'':6} {'':10} {area(eager, is_nodule):7.4f}")
    print("crops.f32, in 8 bits:", ", ".join(f"{p:.3f}" for p in said.tolist()))


if __name__ == "__main__":
    main_guard(main)
