"""ExecuTorch files of the classifier, in float and in 8 bits (chapter 15, "Going mobile").

    python -m p3ch15.mobile.pte --out output/mobile

writes `nodule.pte`, `nodule-int8.pte` and, for the Android project, eight crops (`crops.f32`); runs both
networks on held-out crops, and says how they compare; a third, with the first convolution in 8 bits as well,
is only compared. `--crops 1000 --json data/p3ch15/phone.json` writes the record.
"""

import argparse
import contextlib
import gc
import json
import tempfile
from pathlib import Path

import torch

from p3ch15.chatter import quiet
from p3ch15.evaluation import area, calibration_crops, evaluation_crops, in_batches, milliseconds
from p3ch15.mobile.runtime import open_pte, require_executorch
from p3ch15.mobile.slices import SliceLunaModel
from p3ch15.networks import NETWORKS
from util.errors import main_guard
from util.files import atomic_path
from util.paths import output_root


@contextlib.contextmanager
def _uncollected():
    """Without the garbage collector, which would look through a compiler's growing graphs again and again."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def quantized(model, calibration, first_too=False):
    """A `SliceLunaModel` in 8 bits (torchao's PT2E): weights per channel, activations by the ranges seen.

    calibration: typical inputs, (N, ...), fed one at a time. first_too: the first convolution, too.
    """
    require_executorch()
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
    if not first_too:
        quantizer.set_filter_function(_is_behind_the_first)
    with quiet(), torch.no_grad(), _uncollected():
        observed = prepare_pt2e(torch.export.export(model, (calibration[:1],)).module(), quantizer)
        for crop in calibration.split(1):
            observed(crop)
        return convert_pt2e(observed)


def _is_behind_the_first(node) -> bool:
    """Is this behind the first convolution? In 8 bits, that one alone moves the logits more than all others do.

    (`data/p3ch15/phone.json`. It costs less than a kilobyte to leave it.)
    """
    return node.target != torch.ops.aten.add.Tensor and "blocks.0.conv1" not in str(
        node.meta.get("nn_module_stack", "")
    )


def to_pte(model, example, path) -> Path:
    """Write `model` (a module for inputs shaped like `example`) for ExecuTorch with XNNPACK."""
    require_executorch()
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    with quiet(), torch.no_grad(), _uncollected(), atomic_path(path) as temporary:
        exported = torch.export.export(model, (example,))
        lowered = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()])
        temporary.write_bytes(lowered.to_executorch().buffer)
    return Path(path)


def write_both(folder, calibration, network=None):
    """Write the classifier in float and in 8 bits; returns both paths.

    network: a `LunaModel` in evaluation mode, default the shipped one. Raises `UserError` without ExecuTorch.
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
    parser.add_argument("--crops", type=int, default=100, help="held-out crops to compare on")
    parser.add_argument("--json", help="also write the figures to this file")
    options = parser.parse_args(arguments)
    require_executorch()
    crops, is_nodule = evaluation_crops(options.crops)
    network, calibration = NETWORKS["classification"].build(), calibration_crops()
    eager = in_batches(network, crops)
    plain, small = write_both(options.out or output_root() / "mobile", calibration, network)
    print(f"{'':22} {'KB':>6} {'ms a crop':>20} {'AUC':>7}  logits off, mean and most")
    rows = [_compare(plain, crops, is_nodule, eager), _compare(small, crops, is_nodule, eager)]
    with tempfile.TemporaryDirectory() as scratch:
        sliced, example = SliceLunaModel(network).eval(), NETWORKS["classification"].example(1)
        whole = to_pte(
            quantized(sliced, calibration, first_too=True), example, Path(scratch) / "all-int8.pte"
        )
        rows.append(_compare(whole, crops, is_nodule, eager))
    print(f"{'(eager PyTorch)':22} {'':6} {'':20} {area(eager, is_nodule):7.4f}")
    some = torch.cat([crops[is_nodule][:4], crops[~is_nodule][:4]])
    with atomic_path(small.parent / "crops.f32") as temporary:
        some.numpy().tofile(temporary)
    said = in_batches(open_pte(small), some).softmax(1)[:, 1]
    print("crops.f32, in 8 bits:", ", ".join(f"{p:.3f}" for p in said.tolist()))
    if options.json:
        record = {"crops": len(crops), "nodules": int(is_nodule.sum()), "files": rows}
        with atomic_path(options.json) as temporary:
            temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _compare(path, crops, is_nodule, eager) -> dict:
    """One row of the comparison, printed, too."""
    run = open_pte(path)
    logits = in_batches(run, crops)
    off, took = (logits - eager).abs(), milliseconds(run, crops[:1])
    row = {
        "file": path.name,
        "kilobytes": path.stat().st_size / 1e3,
        "milliseconds": took,
        "auc": area(logits, is_nodule),
        "off_mean": off.mean().item(),
        "off_most": off.max().item(),
    }
    print(
        f"{path.name:22} {row['kilobytes']:6.0f} {took:20.2f} {row['auc']:7.4f}  "
        f"{row['off_mean']:.2g} {row['off_most']:.2g}"
    )
    return row


if __name__ == "__main__":
    main_guard(main)
