"""Many scans at once (chapter 14).

    python -m p2ch14.screencts --num-workers 2                     which scans of the LUNA data are odd?
    python -m p2ch14.screencts FOLDER LIST.txt … --out RESULTS     analyse all scans there are, on all cores
    python -m p2ch14.screencts FOLDER --out RESULTS --resume       go on after a kill
    python -m p2ch14.screencts FOLDER --out RESULTS --ray ADDRESS  on a Ray cluster ("local": on one made here)

Odd are scans whose lungs are not found: the pipeline has little to say about them. The analysis writes results.csv,
results.parquet, index.html and a report for each scan.
"""

import argparse
from pathlib import Path

import numpy as np
from torch.utils.data import DataLoader, Dataset

from p2ch10.dsets import getCt, scan_paths
from p2ch13.lungs import STEP_IRC, Lungs
from p2ch14.archive import Archive, find_scans
from util.errors import UserError, main_guard
from util.paths import shown
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
    """Lists the scans of the LUNA data whose lungs are not found whole; with `--out`, analyses the scans it is given.

    sys_argv: the command line as a list of words, or None for this process's own. Raises `UserError` for options
    that make no sense.
    """

    def __init__(self, sys_argv=None):
        parser = argparse.ArgumentParser(
            description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        parser.add_argument(
            "scans", nargs="*", metavar="SCAN", help="files, folders, or a .txt list of them, to be analysed"
        )
        parser.add_argument("--out", metavar="FOLDER", help="where the results of an analysis go")
        parser.add_argument("--resume", action="store_true", help="go on with the results in --out")
        parser.add_argument("--no-reports", action="store_true", help="only the table and the findings")
        parser.add_argument("--processes", type=int, metavar="N", help="by default one for each core")
        parser.add_argument(
            "--ray", metavar="ADDRESS", help="of a Ray cluster that all workers share --out with"
        )
        for name in ("segmentation", "classification", "malignancy"):
            parser.add_argument(f"--{name}-path", metavar="P", help="weights; by default the shipped ones")
        parser.add_argument(
            "--batch-size", type=int, default=1, help="scans that a process hands over together"
        )
        parser.add_argument(
            "--num-workers", type=int, default=0, help="processes that read scans; 0: this one"
        )
        self.cli_args = parser.parse_args(sys_argv)
        args = self.cli_args
        if bool(args.scans) != bool(args.out):
            missing = "a SCAN to analyse" if args.out else "--out, the folder for the results"
            raise UserError(f"{missing} is missing")
        if args.ray and args.processes:
            raise UserError("--processes is for this machine; a Ray cluster knows how many it has")
        for option, least in (("batch_size", 1), ("num_workers", 0), ("processes", 1)):
            value = getattr(args, option)
            if value is not None and value < least:
                raise UserError(
                    f"--{option.replace('_', '-')} is {value}; give a whole number from {least} on"
                )

    def main(self) -> list:
        """What was asked for: `screen`, or `analyse` where there is `--out`."""
        return self.analyse() if self.cli_args.out else self.screen()

    def analyse(self) -> list[dict]:
        """Analyse the scans of the command line; returns and writes a row for each (see `p2ch14.archive`)."""
        args = self.cli_args
        scans = find_scans(args.scans)
        networks = {
            name: getattr(args, f"{name}_path") for name in ("segmentation", "classification", "malignancy")
        }
        options = {"out": str(Path(args.out).resolve()), "reports": not args.no_reports, "networks": networks}
        archive = Archive(options, args.resume)
        rows = archive.analyse(scans, args.processes, args.ray)
        failed = [row for row in rows if row["state"] == "failed"]
        for row in failed:
            print(f"not analysed: {row['scan']}: {row['error']}")
        nodules = sum(row["nodules"] or 0 for row in rows)
        print(f"{len(rows)} scans, {len(failed)} not analysed, {nodules} nodules; see {shown(args.out)}")
        return rows

    def screen(self) -> list[tuple[str, float, bool]]:
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
