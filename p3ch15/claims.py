"""What notebook 15 says, held against the variables that it ends with, and against the records it reads.

Speed is judged by the records in `data/p3ch15` alone, never by what a notebook's own run took.
"""

from types import SimpleNamespace

import torch

from util.claims import Claim


def _ratio(benchmark, above, below):
    """How many times `above` is as fast as `below`, with many clients, in the record of `p3ch15.benchmark`."""
    return benchmark["servers"][above][-1]["per_second"] / benchmark["servers"][below][-1]["per_second"]


def _servers(**per_second):
    """A record of four servers in which only the rates at 32 clients matter; at one client all are equal."""
    rates = {"plain": 10, "batching": 60, "fast": 130, "both": 195} | per_second
    return {"servers": {name: [{"per_second": 8.0}, {"per_second": rate}] for name, rate in rates.items()}}


def _compiled(v, name):
    return next(row for row in v["compile_record"]["rows"] if row["name"].startswith(name))


def _gain(row):
    return row["eager_ms"][0] / row["compiled_ms"][0]


def _compile_rows(*gains):
    names = ("eight operations", "the classifier, one crop", "the classifier, sixteen crops")
    return {
        "rows": [
            {"name": n, "eager_ms": [10.0 * g], "compiled_ms": [10.0], "compile_s": 5.0}
            for n, g in zip(names, gains)
        ]
    }


def _milliseconds(row):
    return row["milliseconds"][0]


def _variant(kilobytes, zipped, ms, auc):
    return {
        "kilobytes": kilobytes,
        "zipped_kilobytes": zipped,
        "milliseconds": [ms, ms, ms],
        "auc": auc,
    }


_EAGER, _HALF = "eager PyTorch, float32", "eager, 50% of weights zero"
_SMALL = "eager, half the channels (4)"


def _variants(half=(889, 504, 70.0, 0.97), small=(225, 209, 20.0, 0.90)):
    full = _variant(889, 825, 70.0, 0.97)
    return {_EAGER: full, _HALF: _variant(*half), _SMALL: _variant(*small)}


def _export(ms=None, kilobytes=900.0, off=0.0, exact=True):
    return {
        "ms": None if ms is None else [ms, ms, ms],
        "kilobytes": kilobytes,
        "logits_off": off,
        "auc_off": 0.0,
        "is_exact": exact,
    }


def _files(*means):
    names = ("nodule.pte", "nodule-int8.pte", "all-int8.pte")
    return {
        "files": [{"file": n, "off_mean": m, "kilobytes": 265.0, "auc": 0.97} for n, m in zip(names, means)]
    }


def _of(v, name):
    return next(row for row in v["phone_record"]["files"] if row["file"] == name)


SLOW, FAST = "aten::slow_conv3d", "aten::mkldnn_convolution"

CLAIMS = [
    Claim(
        '500 blames the server for what the client did. And the worst is the last: status 200, "all is well", and a '
        "NaN for an answer.",
        lambda v: (
            v["first_answers"]["two slices too few"][0] == 500
            and v["first_answers"]["one NaN"][0] == 200
            and not 0 <= v["first_answers"]["one NaN"][1]["probability"] <= 1
        ),
        [
            {
                "first_answers": {
                    "two slices too few": (400, None),
                    "one NaN": (200, {"probability": float("nan")}),
                }
            },
            {"first_answers": {"two slices too few": (500, None), "one NaN": (200, {"probability": 0.5})}},
        ],
    ),
    Claim(
        "The course's server checks what it reads, and answers with a sentence.",
        lambda v: (
            [a.status_code for a in v["checked_answers"]] == [200, 400, 400, 400]
            and all(len(a.get_json()["error"].split()) > 4 for a in v["checked_answers"][1:])
        ),
        [{"checked_answers": []}],
    ),
    Claim(
        "Told the millimetres, it lets chapter 14's pipeline judge:",
        lambda v: (
            all(
                "pipeline" in a["system"] and a["is_nodule"] == (a["probability"] >= a["threshold"])
                for a in v["whole_answers"]
            )
            and v["whole_answers"][0]["threshold"] != 0.5
        ),
        [
            {
                "whole_answers": [
                    {"system": "the pipeline", "is_nodule": True, "probability": 0.6, "threshold": 0.8}
                ]
            },
            {
                "whole_answers": [
                    {"system": "one classifier", "is_nodule": True, "probability": 0.9, "threshold": 0.8}
                ]
            },
        ],
    ),
    Claim(
        "For a *single* volume as small as ours, PyTorch computes the convolutions in a plain loop, which its authors "
        "named `slow_conv3d` themselves; from two volumes on it calls oneDNN",
        lambda v: [v["kernels"][n] for n in (1, 2, 16)] == [{SLOW}, {FAST}, {FAST}],
        [
            {"kernels": {1: {SLOW}, 2: {SLOW}, 16: {FAST}}},
            {"kernels": {1: {FAST}, 2: {FAST}, 16: {FAST}}},
        ],
    ),
    Claim(
        "Not one tick: while the network computes, nobody else is served, not even told to wait.",
        lambda v: v["ticks_alone"] == 0 and v["ticks_running"] >= 3,
        [{"ticks_alone": 4}, {"ticks_running": 0}],
    ),
    Claim(
        "Everyone got their own picture, in three batches, and the thread that speaks with the clients had time to "
        "tick.",
        lambda v: (
            v["runner"].batch_sizes[:3] == [4, 4, 4]
            and v["painted_off"] < 1e-4
            and (v["striped"][0] - v["striped"][1]).abs().max() > 0.1
            and v["ticks_running"] > 0
        ),
        [{"painted_off": 0.3}, {"striped": torch.zeros(12, 3, 64, 64)}, {"ticks_running": 0}],
    ),
    Claim(
        "Fifty milliseconds and more, for company that never came.",
        lambda v: min(v["waited"]) >= 49 and v["runner"].batch_sizes[3:] == [1] * 5,
        [{"waited": [50.3, 12.0, 50.8, 51.0, 50.2]}],
    ),
    Claim(
        "Under load, batches fill by themselves; without load, nobody waits.",
        lambda v: (
            v["eager_runner"].batch_sizes[:3] == [4, 4, 4]
            and v["eager_off"] < 1e-4
            and min(v["eager_waited"]) < 49
        ),
        [{"eager_waited": [50.3, 50.1, 50.8, 51.0, 50.2]}, {"eager_off": 0.5}],
    ),
    Claim(
        "Let us hold both against each other, over HTTP: the same picture, PUT to a server with our runner and to one "
        "with the package's.",
        lambda v: v["ours"] == v["packages"] and [code for code, _ in v["ours"]] == [200, 200, 200, 200, 400],
        [{"packages": []}, {"ours": []}],
    ),
    Claim(
        "Everyone got their own answer, and 100 calls took only a handful of batches.",
        lambda v: (
            v["doubled"] == [2 * n for n in range(100)] and sum(v["sizes"]) == 100 and len(v["sizes"]) < 25
        ),
        [{"sizes": [1] * 100}, {"doubled": [2 * n for n in range(99)] + [0]}],
    ),
    Claim(
        "For plain float32 with 32 clients, batching brings much, and now you know why: almost no crop is computed "
        "alone any more.",
        lambda v: _ratio(v["benchmark"], "batching", "plain") > 2,
        [{"benchmark": _servers(batching=15)}],
    ),
    Claim(
        "The numerics bring more than batching does, and on top of them batching adds half as much again.",
        lambda v: (
            _ratio(v["benchmark"], "fast", "batching") > 1.2
            and 1.3 < _ratio(v["benchmark"], "both", "fast") < 1.7
        ),
        [
            {"benchmark": _servers(fast=62)},
            {"benchmark": _servers(both=140)},
            {"benchmark": _servers(both=300)},
        ],
    ),
    Claim(
        "What it *costs* a lone client is less than a millisecond, after a burst as well.",
        lambda v: max(v["benchmark"]["lone_ms"].values()) < 1,
        [{"benchmark": {"lone_ms": {"lone": 0.2, "burst": 1.4}}}],
    ),
    Claim(
        "with 32 clients, everybody waits several times longer than alone, whatever we do.",
        lambda v: all(
            rows[-1]["p50_ms"] > 3 * rows[0]["p50_ms"] for rows in v["benchmark"]["servers"].values()
        ),
        [{"benchmark": {"servers": {"plain": [{"p50_ms": 100.0}, {"p50_ms": 150.0}]}}}],
    ),
    Claim(
        "The answers differ in the last digits, since the order of a sum's terms matters to floats, but by nothing "
        "that could matter.",
        lambda v: 0 < v["onnx_off"] < 1e-4,
        [{"onnx_off": 0.0}, {"onnx_off": 3e-3}],
    ),
    Claim(
        "The traced file takes the slow road, too: a trace calls the same operations of the same PyTorch",
        lambda v: v["kernels"]["classification-traced.pt"] == v["kernels"]["eager PyTorch"] == {SLOW},
        [{"kernels": {"classification-traced.pt": {FAST}, "eager PyTorch": {SLOW}}}],
    ),
    Claim(
        "So does the compiled package, which is compiled but for its convolutions: those it asks of PyTorch.",
        lambda v: v["kernels"]["classification.pt2"] == {SLOW},
        [{"kernels": {"classification.pt2": set()}}],
    ),
    Claim(
        "onnxruntime brings convolutions of its own.",
        lambda v: not v["kernels"]["classification.onnx"],
        [{"kernels": {"classification.onnx": {SLOW}}}],
    ),
    Claim(
        "The result is the same, and the function runs several times as fast",
        lambda v: v["fused_off"] < 1e-5 and _gain(_compiled(v, "eight operations")) > 3,
        [{"compile_record": _compile_rows(1.8, 4.0, 1.0)}, {"fused_off": 1e-2}],
    ),
    Claim(
        "A network whose time goes into convolutions gains little, in a batch and alone",
        lambda v: all(
            0.7 < _gain(_compiled(v, name)) < 1.6
            for name in ("the classifier, one", "the classifier, sixteen")
        ),
        [{"compile_record": _compile_rows(8.0, 1.1, 5.0)}, {"compile_record": _compile_rows(8.0, 4.0, 1.1)}],
    ),
    Claim(
        "There is none: three rows were selected, multiplied and added, one after another.",
        lambda v: (
            str(v["traced_fn"].graph).count("aten::mul") == 3
            and "prim::Loop" not in str(v["traced_fn"].graph)
            and "prim::Loop" in str(v["scripted_fn"].graph)
        ),
        [
            {"traced_fn": SimpleNamespace(graph="prim::Loop aten::mul")},
            {"scripted_fn": SimpleNamespace(graph=3 * "aten::mul")},
        ],
    ),
    Claim(
        "Five rows go in, three are added up, and nothing is said.",
        lambda v: v["loop_off"][3] == [0, 0] and v["loop_off"][5][0] > 0.01 and v["loop_off"][5][1] == 0,
        [{"loop_off": {3: [0, 0], 5: [0.0, 0.0]}}, {"loop_off": {3: [0, 0], 5: [2.0, 2.0]}}],
    ),
    Claim(
        "The traced module forgot the mirror, since the example never needed it, and it does not say so when it is "
        "asked.",
        lambda v: (
            v["flip_off"]["traced"][0] == 0
            and v["flip_off"]["traced"][1] > 0.05
            and max(v["flip_off"]["scripted"]) < 1e-5
        ),
        [
            {"flip_off": {"traced": [0, 0.0], "scripted": [0, 0]}},
            {"flip_off": {"traced": [0, 0.6], "scripted": [0, 0.6]}},
        ],
    ),
    Claim(
        "With `torch.export`, the trap is shut: it refuses.",
        lambda v: v["refusal"] is not None and max(v["flip_off"]["torch.cond"]) < 1e-5,
        [{"refusal": None}, {"flip_off": {"torch.cond": [0, 0.4]}}],
    ),
    Claim(
        "Two programs then paint the same animal, one by a recording from Python, one by layers written in C++.",
        lambda v: max(v["pixels_off"].values()) <= 1,
        [{"pixels_off": {"Python": 0, "C++, generator": 40}}],
    ),
    Claim(
        "The loss falls as in chapter 11, with ups and downs: 225 crops are few.",
        lambda v: (
            not v["has_compiler"]
            or (
                v["losses"][-1] < 0.75 * v["losses"][0]
                and any(b > a for a, b in zip(v["losses"], v["losses"][1:]))
            )
        ),
        [
            {"has_compiler": True, "losses": [0.7, 0.71, 0.69]},
            {"has_compiler": True, "losses": [0.7, 0.5, 0.3]},
        ],
    ),
    Claim(
        "an ordinary 3×3 convolution does the rest, with the same weights in another order.",
        lambda v: v["slice_off"] < 1e-4 and v["sliced_off"] < 1e-4,
        [{"slice_off": 0.2}],
    ),
    Claim(
        "Rounding to steps of 8 is an error of 8/√12 = 2.3 HU, far below any scanner's noise; it drowns nothing, and "
        "the network hardly notices it.",
        lambda v: (
            abs(v["harm"]["in steps of 8 HU"][0] - 8 / 12**0.5) < 0.1
            and 3 * v["harm"]["in steps of 8 HU"][1] < v["harm"]["noise of 15 HU"][1]
        ),
        [
            {"harm": {"in steps of 8 HU": (8.0, 0.01, 0.9), "noise of 15 HU": (15, 0.07, 0.9)}},
            {"harm": {"in steps of 8 HU": (2.3, 0.06, 0.9), "noise of 15 HU": (15, 0.07, 0.9)}},
        ],
    ),
    Claim(
        "With the first convolution in 8 bits as well, the logits move more than twice as far, for a file that is "
        "hardly smaller.",
        lambda v: (
            _of(v, "all-int8.pte")["off_mean"] > 2 * _of(v, "nodule-int8.pte")["off_mean"]
            and 0.97 < _of(v, "all-int8.pte")["kilobytes"] / _of(v, "nodule-int8.pte")["kilobytes"] < 1.03
        ),
        [{"phone_record": _files(1e-6, 0.08, 0.12)}],
    ),
    Claim(
        "both 8-bit files order the crops about as well as the float file does.",
        lambda v: (
            max(row["auc"] for row in v["phone_record"]["files"])
            - min(row["auc"] for row in v["phone_record"]["files"])
            < 0.01
        ),
        [{"phone_record": {"files": [{"auc": 0.97}, {"auc": 0.97}, {"auc": 0.94}]}}],
    ),
    Claim(
        "So a hundredth more or less means nothing here.",
        lambda v: v["auc_low"] < v["auc_high"] - 0.02 and v["efficiency"]["crops"] >= 1000,
        [{"auc_low": 0.969, "auc_high": 0.974}, {"efficiency": {"crops": 200}}],
    ),
    Claim(
        "Half of the weights can be zero and hardly anything changes: trained networks have room to spare.",
        lambda v: abs(v["variants"][_HALF]["auc"] - v["variants"][_EAGER]["auc"]) < 0.01,
        [{"variants": _variants(half=(889, 504, 70.0, 0.93))}],
    ),
    Claim(
        "But the file does not get smaller, since a zero is stored like any other number (and multiplied like one); "
        "only zipped is it small.",
        lambda v: (
            v["variants"][_HALF]["kilobytes"] == v["variants"][_EAGER]["kilobytes"]
            and v["variants"][_HALF]["zipped_kilobytes"] < 0.7 * v["variants"][_EAGER]["zipped_kilobytes"]
        ),
        [
            {"variants": _variants(half=(500, 504, 70.0, 0.97))},
            {"variants": _variants(half=(889, 800, 70.0, 0.97))},
        ],
    ),
    Claim(
        "That is the smaller design, and the honest loss in its last column",
        lambda v: (
            _milliseconds(v["variants"][_SMALL]) < 0.6 * _milliseconds(v["variants"][_EAGER])
            and v["variants"][_SMALL]["auc"] < v["variants"][_EAGER]["auc"] - 0.01
        ),
        [{"variants": _variants(small=(225, 209, 20.0, 0.97))}],
    ),
    Claim(
        "onnxruntime, and the slices under XNNPACK, bring convolutions that suit one.",
        lambda v: all(
            2 * v["by_name"][fast]["ms"][0] < v["by_name"]["TorchScript, traced"]["ms"][0]
            for fast in ("ONNX in onnxruntime", "ExecuTorch with XNNPACK")
        ),
        [
            {
                "by_name": {
                    "TorchScript, traced": _export(70.0),
                    "ONNX in onnxruntime": _export(60.0),
                    "ExecuTorch with XNNPACK": _export(6.0),
                }
            }
        ],
    ),
    Claim(
        "Eight bits save size for certain, and time only where the kernels for it are good",
        lambda v: (
            v["by_name"]["ONNX, 8 bits"]["kilobytes"] < 0.3 * v["by_name"]["ONNX in onnxruntime"]["kilobytes"]
            and v["by_name"]["ONNX, 8 bits"]["ms"][0] > v["by_name"]["ONNX in onnxruntime"]["ms"][0]
            and v["by_name"]["ExecuTorch, 8 bits"]["ms"][0] < v["by_name"]["ExecuTorch with XNNPACK"]["ms"][0]
        ),
        [
            {
                "by_name": {
                    "ONNX in onnxruntime": _export(20.0),
                    "ONNX, 8 bits": _export(10.0, 263),
                    "ExecuTorch with XNNPACK": _export(6.0),
                    "ExecuTorch, 8 bits": _export(3.0, 265),
                }
            }
        ],
    ),
    Claim(
        "Without a server and without PyTorch, onnxruntime takes less than half of what any server takes.",
        lambda v: all(
            2 * v["many"]["ONNX Runtime, no server"]["megabytes"] < row["megabytes"]
            for name, row in v["many"].items()
            if name != "ONNX Runtime, no server"
        ),
        [
            {
                "many": {
                    "ONNX Runtime, no server": {"megabytes": 400},
                    "our server": {"megabytes": 700},
                }
            }
        ],
    ),
    Claim(
        "With one network on two cores, no engine is far ahead of a server of our own",
        lambda v: all(
            v["many"][engine]["per_second"]
            <= 1.5 * max(v["many"][ours]["per_second"] for ours in ("our server", "our server, alone"))
            for engine in ("LitServe", "Ray Serve", "BentoML")
        ),
        [
            {
                "many": {
                    "our server": {"per_second": 100},
                    "our server, alone": {"per_second": 90},
                    "LitServe": {"per_second": 170},
                    "Ray Serve": {"per_second": 60},
                    "BentoML": {"per_second": 60},
                }
            }
        ],
    ),
]
