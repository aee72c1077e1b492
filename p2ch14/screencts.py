"""Which scans are odd? Where the lungs are not found, the pipeline has little to say (chapter 14).

python -m p2ch14.screencts --num-workers 2
"""

import argparse

import numpy as np
from torch.utils.data import DataLoader, Dataset

from p2ch10.dsets import getCt, scan_paths
from p2ch13.lungs import STEP_IRC, Lungs
from util.errors import UserError, main_guard
from util.util import enumerateWithEstimate

LEAST_LITRES = 1.5  # an adult's lungs hold three to six


class LunaScreenCtDataset(Dataset):
    """Every scan of the LUNA data: (series UID, litres of lung, are there two lungs?)."""

    def __init__(self):
        self.series_list = sorted(scan_paths())

    def __len__(self):
        return len(self.series_list)

    def __getitem__(self, ndx):
        ct = getCt(self.series_list[ndx])
        lungs = Lungs(ct.hu_a)
        voxel_mm3 = float(np.prod(ct.geometry.spacing_xyz) * np.prod(STEP_IRC))
        return ct.series_uid, float(lungs.mask.sum()) * voxel_mm3 / 1e6, bool(lungs.are_two)


class LunaScreenCtApp:
    """Lists the scans of the LUNA data whose lungs are not found whole.

    sys_argv: the command line as a list of words, or None for this process's own. Raises `UserError` for numbers
    that make no sense.
    """

    def __init__(self, sys_argv=None):
        parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
        parser.add_argument(
            "--batch-size", type=int, default=1, help="scans that a process hands over together"
        )
        parser.add_argument(
            "--num-workers", type=int, default=0, help="processes that read scans; 0: this one"
        )
        self.cli_args = parser.parse_args(sys_argv)
        for option, least in (("batch_size", 1), ("num_workers", 0)):
            value = getattr(self.cli_args, option)
            if value < least:
                raise UserError(
                    f"--{option.replace('_', '-')} is {value}; give a whole number from {least} on"
                )

    def main(self) -> list[tuple[str, float, bool]]:
        """Print and return the odd scans, the least lung first: (series UID, litres of lung, are there two?)."""
        loader = DataLoader(
            LunaScreenCtDataset(), self.cli_args.batch_size, num_workers=self.cli_args.num_workers
        )
        odd = []
        for _, (series_list, litres_t, are_two_t) in enumerateWithEstimate(loader, "screening"):
            rows = zip(series_list, litres_t.tolist(), are_two_t.tolist())
            odd += [row for row in rows if row[1] < LEAST_LITRES or not row[2]]
        odd.sort(key=lambda row: row[1])
        print(f"{len(odd)} of {len(loader.dataset)} scans are odd")
        for series_uid, litres, are_two in odd:
            print(f"{series_uid}  {litres:.1f} litres of lung{'' if are_two else ', and not two lungs'}")
        return odd


if __name__ == "__main__":
    main_guard(lambda: LunaScreenCtApp().main() and None)
