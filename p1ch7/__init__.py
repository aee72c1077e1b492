"""Chapter 7: telling birds from airplanes with a fully connected network.

Introduces CIFAR-10 and its stand-in, `cifar10_files`: 32x32 drawings in the same files (draw), a reader for both
(images), the fully connected network with its training loop and its limits (training), and the same
measurements on photographs (photographs, a command).
Takes nothing from earlier chapters.
"""

from util.datasets import Dataset, Source


def _draw(folder):
    from p1ch7.draw import generate

    generate(folder)


cifar10_files = Dataset(
    "cifar10",
    generate=_draw,
    version="2",
    required=("cifar-10-batches-py/data_batch_1", "cifar-10-batches-py/test_batch"),
    sources=(
        Source(
            "cifar-10-python.tar.gz",
            ("https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",),
            "md5:c58f30108f718f92721af3b95e74349a",
            170_498_071,
            unpack=True,
        ),
    ),
    about="CIFAR-10: 60,000 color photographs of 32x32 pixels in ten classes (Krizhevsky, 2009)",
    licence="no licence stated by its authors; free to download for research",
)
