"""Chapter 11: a classifier of candidate crops, and the training loop that later chapters reuse.

Introduces `LunaModel`, `LunaBlock` (model), `LunaTrainingApp` with `computeBatchLoss` and `logMetrics`
(training), its options, loaders, checkpoints, several processes (parallel) and TensorBoard (board), Muon in
place of AdamW (muon), and `prepcache`. Takes `LunaDataset` from chapter 10 and the progress loop from `util`.
"""

import util as util  # first: it sets how PyTorch's threads wait, and PyTorch reads that when it is loaded
