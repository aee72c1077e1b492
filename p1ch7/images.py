"""CIFAR-10 as datasets: torchvision's reader on real or drawn files, and the two classes of this chapter."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torchvision import datasets, transforms

from util.errors import UserError

# Of the real training images of all ten classes: mean and standard deviation of red, green and blue.
MEAN, STD = (0.4915, 0.4823, 0.4468), (0.2470, 0.2435, 0.2616)
AIRPLANE, BIRD = 0, 2
CLASS_NAMES = ("airplane", "bird")
LABEL_MAP = {AIRPLANE: 0, BIRD: 1}


class CIFAR10(datasets.CIFAR10):
    """torchvision's CIFAR10 without its checksums, so that it reads drawings in the same files, too.

    Items are (PIL image or what `transform` makes of it, label 0 to 9). Raises `UserError` where `root` has
    no folder cifar-10-batches-py.
    """

    train_list = [[name, None] for name, _ in datasets.CIFAR10.train_list]
    test_list = [[name, None] for name, _ in datasets.CIFAR10.test_list]
    meta = {**datasets.CIFAR10.meta, "md5": None}

    def __init__(self, root, train: bool = True, transform=None):
        folder = Path(root) / self.base_folder
        missing = [
            name
            for name, _ in [*(self.train_list if train else self.test_list), ["batches.meta", None]]
            if not (folder / name).is_file()
        ]
        if missing:
            raise UserError(
                f"no {', '.join(missing)} in {folder.name} below {Path(root).name}; ask p1ch7.cifar10_files.path() "
                "for a folder that is complete"
            )
        super().__init__(str(root), train=train, transform=transform, download=False)


class BirdsAndAirplanes(torch.utils.data.Dataset):
    """The airplanes (label 0) and birds (label 1) of CIFAR-10, one at a time.

    images: (N, 32, 32, 3) uint8 array, labels: (N,) of 0 and 1. An item is (transform(PIL image), label): the
    transform runs at every access, so that a random one differs from epoch to epoch.
    """

    def __init__(self, root, train: bool = True, transform=None):
        whole = CIFAR10(root, train=train)
        wanted = [i for i, label in enumerate(whole.targets) if label in LABEL_MAP]
        self.images = whole.data[wanted]
        self.labels = np.array([LABEL_MAP[whole.targets[i]] for i in wanted])
        self.transform = transform

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        image = Image.fromarray(self.images[index])
        if self.transform is not None:
            image = self.transform(image)
        return image, int(self.labels[index])


def to_normalized_tensor() -> transforms.Compose:
    """PIL image -> float32 (3, 32, 32), each channel with mean 0 and standard deviation 1 over CIFAR-10."""
    return transforms.Compose([transforms.ToTensor(), transforms.Normalize(MEAN, STD)])


def denormalize(images: torch.Tensor) -> torch.Tensor:
    """Back from normalized (…, 3, H, W) to [0, 1], for looking at."""
    mean, std = (torch.tensor(v, device=images.device)[:, None, None] for v in (MEAN, STD))
    return (images * std + mean).clamp(0, 1)
