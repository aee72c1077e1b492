"""Hard negatives: what the segmentation proposes and is no nodule (chapter 14, "Refined training data").

LUNA's candidates are places where other systems fired, centred by them. The U-Net proposes other
places, and its centres are off by a few millimetres; a classifier that never saw such crops is sure of
the wrong things. So the U-Net is run over the training scans, its proposals are labelled by LUNA16's
rule, and they join the candidates.

And LUNA16 lists findings that a mark may lie on without counting either way: specks, patches of haze,
scars. Many look just like a nodule, so to train on them as "no nodule" is to teach that nodules are none.
"""

import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch

from p2ch10.dsets import CandidateInfoTuple, getCt
from p2ch11.training import load_weights
from p2ch13.lungs import Lungs
from p2ch13.model import UNetWrapper
from p2ch14.hits import lies_on
from p2ch14.pipeline import NodulePipeline
from p2ch14.scoring import irrelevant_findings, truth_by_series
from p2ch14.weights import SHIPPED_SEGMENTATION, settings_of
from util.files import atomic_path
from util.processes import end_with_parent
from util.util import enumerateWithEstimate

# What the U-Net marks from here on is mined, if it does not propose more by itself: more to learn from.
MINED_FROM = 0.9
PROCESSES = 16  # at most: each holds the network
AMBIGUOUS_MM = 3.0  # a centre that misses the nodule by less than this teaches neither


def label_findings(
    findings, nodules, series_uid, ambiguous_mm=AMBIGUOUS_MM, irrelevant=()
) -> list[CandidateInfoTuple]:
    """Findings as candidates: nodules where they hit one, others where they are clear of all.

    findings: with `center_xyz` and `diameter_mm`; nodules: with `center_xyz` and `diameter_mm`; irrelevant:
    (n, 4) array of x, y, z, diameter in mm. What lies between a nodule's radius and `ambiguous_mm` beyond
    it is left out, and so is what lies on an irrelevant finding.
    """
    places = [finding.center_xyz for finding in findings]
    spheres = np.array([(*nodule.center_xyz, nodule.diameter_mm) for nodule in nodules]).reshape(-1, 4)
    is_nodule = lies_on(spheres, places).any(axis=0)
    is_near = lies_on(spheres + (0, 0, 0, 2 * ambiguous_mm), places).any(axis=0)
    is_clear = ~is_near & ~lies_on(irrelevant, places).any(axis=0)
    return [
        CandidateInfoTuple(
            bool(hit),
            False,
            False,
            finding.diameter_mm if hit else 0.0,
            series_uid,
            tuple(finding.center_xyz),
        )
        for finding, hit, clear in zip(findings, is_nodule, is_clear)
        if hit or clear
    ]


def without_irrelevant(candidates) -> list:
    """The candidates less those that are no nodule but lie on an irrelevant finding."""
    irrelevant = irrelevant_findings()
    return [
        candidate
        for candidate in candidates
        if candidate.isNodule_bool
        or not lies_on(irrelevant.get(candidate.series_uid, ()), [candidate.center_xyz]).any()
    ]


def mine(segmentation, series, device=None, processes=1) -> list[CandidateInfoTuple]:
    """What a U-Net proposes in the scans `series`, labelled by the annotations.

    segmentation: its weights, as for `NodulePipeline`, or None for the shipped ones. processes: a GPU is done with a
    scan long before one processor has grouped what it marked. They are started anew rather than forked, as CUDA asks.
    """
    series, segmentation = list(series), Path(segmentation or SHIPPED_SEGMENTATION)
    if processes == 1:
        _prepare(segmentation, device)
        results, pool = map(_proposed, series), None
    else:
        load_weights(UNetWrapper(), segmentation)  # a bad file is a sentence here, and a broken pool there
        torch.cuda.empty_cache()  # what a training before this has left
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(
            min(processes, PROCESSES, max(len(series), 1)), context, _prepare_process, (segmentation, device)
        )
        results = pool.map(_proposed, series)
    try:
        return [c for _, part in enumerateWithEstimate(results, "mining", iter_len=len(series)) for c in part]
    finally:
        _mining.clear()
        if pool:
            pool.shutdown(cancel_futures=True)  # Ctrl-C waits for the scans at hand, not for all


_mining = {}  # what every scan of a process's mining needs


def _prepare_process(segmentation, device):
    end_with_parent()
    torch.set_num_threads(1)
    _prepare(segmentation, device)


def _prepare(segmentation, device):
    threshold = min(MINED_FROM, settings_of(segmentation).mask_threshold)
    _mining.update(
        pipeline=NodulePipeline(segmentation, device=device, mask_threshold=threshold),
        truth=truth_by_series(),
        irrelevant=irrelevant_findings(),
    )


def _proposed(series_uid):
    pipeline, ct = _mining["pipeline"], getCt(series_uid)
    lungs = Lungs(ct.hu_a)
    findings = pipeline.group_segmentation_output(ct, pipeline.segment_ct(ct, lungs), lungs)
    spared = _mining["irrelevant"].get(series_uid, ())
    return label_findings(findings, _mining["truth"][series_uid], series_uid, irrelevant=spared)


def kept(path, make) -> list[CandidateInfoTuple]:
    """What `make` answers, kept in the JSON file `path` if one is named: mining takes its time."""
    if path is None:
        return make()
    path = Path(path)
    if not path.exists():
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(make()), encoding="utf-8")
    rows = json.loads(path.read_text(encoding="utf-8"))
    return [CandidateInfoTuple(*row[:5], tuple(row[5])) for row in rows]
