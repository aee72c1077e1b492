"""Training the network that looks closer (chapter 14, "Competition results and research papers").

    python -m p2ch14.second_look --balanced --augmented --hard-from data/p2ch14/classification.safetensors

It learns from the nodules and from what chapter 11's network cannot tell from them.
"""

import torch

from p2ch12.dsets import LunaDataset
from p2ch14.close_look import CLOSE_IRC, CloseLookModel
from p2ch14.dsets import scaled_candidate
from p2ch14.mining import HardExampleTrainingApp
from util.errors import main_guard


class CloseLunaDataset(LunaDataset):
    """`LunaDataset` with crops for `CloseLookModel`: float32 (1, 16, 32, 32) HU, scaled to equal millimetres."""

    def __getitems__(self, indices):
        items = []
        for ndx in indices:
            info = self.candidate_at(ndx)
            crop_t, center_irc = scaled_candidate(info, CLOSE_IRC)
            label_t = torch.tensor([0, 1] if info.isNodule_bool else [1, 0])
            items.append((crop_t[None], label_t, info.series_uid, torch.tensor(center_irc)))
        return items


class SecondLookTrainingApp(HardExampleTrainingApp):
    """Trains `CloseLookModel` on nodules and on what the first network takes for some."""

    def initModel(self):
        return self.to_device(CloseLookModel())

    def dataset_of(self, candidates):
        return CloseLunaDataset(ratio_int=int(self.cli_args.balanced), candidateInfo_list=candidates)

    def initValDl(self):
        return self.make_loader(CloseLunaDataset(self.cli_args.val_stride, True), shuffle=False)


if __name__ == "__main__":
    main_guard(lambda: SecondLookTrainingApp().main() and None)
