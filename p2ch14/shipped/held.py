"""Examples that lie on the device all together (chapter 14, "Refined training data").

A GPU is through with a batch long before processors have cut and copied the next. So the scans, or the patches around
all candidates, are brought there once, and every batch is gathered on the spot: the same examples as those of
the datasets behind them. `--held` asks for it.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset, RandomSampler, SequentialSampler

from p2ch10.ct import open_stored
from p2ch10.dsets import getCandidateInfoDict
from p2ch11.loaders import ShardedBatchSampler
from p2ch13.dsets import is_annotated
from p2ch14.shipped.ball_targets import BallCrops, reach_of
from util.errors import UserError


def held_loader(app, dataset, shuffle=False) -> DataLoader:
    """Batches of a dataset of this module for the training `app`, in its own order or in a new one each time."""
    generator = torch.Generator()
    sampler = RandomSampler(dataset, generator=generator) if shuffle else SequentialSampler(dataset)
    batches = ShardedBatchSampler(sampler, app.cli_args.batch_size, app.rank, app.world_size, is_even=True)
    return DataLoader(dataset, batch_sampler=batches, generator=generator, collate_fn=lambda batch: batch)


class HeldPatches(Dataset):
    """A classifier's examples as batches on the device: (patches (N, 1, *patch) float32 HU, labels (N, 2), (), ()).

    dataset: `p2ch12.dsets.LunaDataset` or a variant, with `patch_irc` set; its order and its balance stay. Patches
    are kept in whole HU. workers: processes that cut them.
    """

    def __init__(self, dataset, device, workers=0, at_once=64):
        self.dataset = dataset
        each = type(dataset)(candidateInfo_list=dataset.candidateInfo_list)
        each.patch_irc = dataset.patch_irc
        self.rows = {info: row for row, info in enumerate(each.candidateInfo_list)}
        self.patches_g = torch.empty(len(each), *each.patch_irc, dtype=torch.int16, device=device)
        loader = DataLoader(each, at_once, num_workers=workers, collate_fn=_as_int16)
        for number, patches_t in enumerate(loader):
            self.patches_g[number * at_once :][: len(patches_t)] = patches_t.to(device)

    def __len__(self):
        return len(self.dataset)

    def shuffleSamples(self, generator=None):
        """Draw a new order: see `p2ch12.dsets.LunaDataset`."""
        self.dataset.shuffleSamples(generator)

    def __getitems__(self, indices):
        infos = [self.dataset.candidate_at(ndx) for ndx in indices]
        rows_g = torch.tensor([self.rows[info] for info in infos], device=self.patches_g.device)
        is_nodule = torch.tensor([info.isNodule_bool for info in infos])
        label_t = torch.stack([~is_nodule, is_nodule], dim=1).long()  # (N, 2)
        return self.patches_g[rows_g].float()[:, None], label_t, (), ()


def _as_int16(items):
    return torch.stack([item[0][0].round().to(torch.int16) for item in items])


class HeldBallCrops(Dataset):
    """`BallCrops` as batches on the device: (slices (N, 7, 64, 64) float32 HU, balls (N, 1, 64, 64) bool, (), ()).

    crops: the dataset whose scans, nodules and background places these are. Every other crop shows a nodule, the
    others background, as there. Random numbers are the device's. Raises `UserError` for scans of different shapes,
    as generated patients never are: they are held as one block.
    """

    def __init__(self, crops: BallCrops, device):
        if len(crops) == 0:
            raise UserError("there are no nodules to learn from; generate more scans, or change --val-stride")
        self.samples, self.crop, self.around = len(crops), crops.crop, crops.around
        self.context = crops.contextSlices_count
        number = {uid: n for n, uid in enumerate(crops.series_list)}
        geometries = {uid: open_stored(uid).geometry for uid in number}
        shapes = {geometry.shape for geometry in geometries.values()}
        if len(shapes) > 1:
            raise UserError(
                f"--held wants scans of one shape, as generated patients have, and these have {len(shapes)}; "
                "train without it"
            )
        self.hu_g = torch.empty(len(number), *shapes.pop(), dtype=torch.int16, device=device)

        def hold(uid):
            self.hu_g[number[uid]] = torch.from_numpy(open_stored(uid).whole()).to(device)

        with ThreadPoolExecutor() as pool:
            list(pool.map(hold, number))
        balls = [_balls_of(uid, geometry) for uid, geometry in geometries.items()]
        # (scans, most nodules, 6): centre and reach in voxels. A reach of 0 fills the rows up, and holds no voxel.
        self.balls_g = pad_sequence(balls, batch_first=True).to(device)
        self.nodules_g = torch.tensor(
            [(n, k) for n, rows in enumerate(balls) for k in range(len(rows))], device=device
        )
        places = [
            (number[c.series_uid], *geometries[c.series_uid].xyz2irc(c.center_xyz))
            for c in crops.background_list
        ]
        self.background_g = torch.tensor(places, dtype=torch.long, device=device).reshape(-1, 4)

    def __len__(self):
        return self.samples

    def __getitems__(self, indices):
        scan_g, place_g = self._places(len(indices))
        slice_g, corner_g = place_g[:, 0], self._corners(place_g)
        return *self.cut(scan_g, slice_g, corner_g), (), ()

    def _pick(self, count, below):
        """`count` whole numbers from 0 to `below` - 1; below: a number or (count,)."""
        drawn = torch.rand(count, device=self.hu_g.device, dtype=torch.float64) * below
        return drawn.long()

    def _places(self, count):
        """Scans (N,) and voxels (N, 3): by turns through a nodule, and elsewhere."""
        half = (count + 1) // 2
        scan_g, ball_g = self.nodules_g[self._pick(half, len(self.nodules_g))].T
        center_g, reach_g = self.balls_g[scan_g, ball_g].split(3, dim=1)
        edge_g = torch.tensor(self.hu_g.shape[1:], device=self.hu_g.device)
        low_g = (center_g - reach_g).ceil().long().clamp(min=0)
        high_g = torch.minimum((center_g + reach_g).floor().long(), edge_g - 1) + 1
        index_g = low_g[:, 0] + self._pick(half, high_g[:, 0] - low_g[:, 0])
        middle_g = torch.stack([index_g, *((low_g + high_g) // 2)[:, 1:].T], dim=1)
        elsewhere_g = torch.stack([self._pick(half, size) for size in self.hu_g.shape], dim=1)
        if len(self.background_g):
            listed_g = self.background_g[self._pick(half, len(self.background_g))]
            elsewhere_g = torch.where(self._pick(half, 2)[:, None] == 1, listed_g, elsewhere_g)
        scans_g = torch.stack([scan_g, elsewhere_g[:, 0]], dim=1).flatten()[:count]
        return scans_g, torch.stack([middle_g, elsewhere_g[:, 1:]], dim=1).flatten(0, 1)[:count]

    def _corners(self, place_g):
        """First row and column (N, 2) of a crop at a random offset around each place, moved into the scan."""
        corner = []
        for axis in (1, 2):
            start_g = place_g[:, axis] - self.around // 2
            start_g = start_g + self._pick(len(place_g), self.around - self.crop + 1)
            corner.append(start_g.clamp(0, self.hu_g.shape[axis + 1] - self.crop))
        return torch.stack(corner, dim=1)

    def cut(self, scan_g, slice_g, corner_g):
        """The crops at these places with their truth; scan_g, slice_g: (N,); corner_g: (N, 2) row and column."""
        device = self.hu_g.device
        around_g = torch.arange(-self.context, self.context + 1, device=device)
        slices_g = (slice_g[:, None] + around_g).clamp(0, self.hu_g.shape[1] - 1)  # (N, 7)
        rows_g = corner_g[:, :1] + torch.arange(self.crop, device=device)  # (N, 64)
        columns_g = corner_g[:, 1:] + torch.arange(self.crop, device=device)
        crop_g = self.hu_g[
            scan_g[:, None, None, None],
            slices_g[:, :, None, None],
            rows_g[:, None, :, None],
            columns_g[:, None, None, :],
        ]
        center_g, reach_g = self.balls_g[scan_g].split(3, dim=2)  # (N, K, 3)

        def away(axis, at_g):
            """How far along an axis, squared, in parts of the reach: (N, K, places)."""
            distance_g = at_g[:, None].double() - center_g[:, :, axis, None]
            return (distance_g / reach_g[:, :, axis, None]) ** 2

        far_g = (
            away(0, slice_g[:, None])[..., None] + away(1, rows_g)[..., None] + away(2, columns_g)[:, :, None]
        )
        return crop_g.float(), (far_g <= 1).any(dim=1, keepdim=True)


def _balls_of(series_uid, geometry):
    """(balls, 6) float64: centre and reach of every annotated nodule of a scan, in voxels (index, row, column)."""
    edge = np.array(geometry.shape) - 1
    balls = []
    for info in filter(is_annotated, getCandidateInfoDict().get(series_uid, ())):
        center = np.clip(geometry.xyz2irc_exactly(info.center_xyz), 0, edge)
        balls.append([*center, *reach_of(info.diameter_mm / 2, geometry.spacing_irc)])
    return torch.tensor(balls, dtype=torch.float64).reshape(-1, 6)
