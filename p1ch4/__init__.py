"""Chapter 4: how images, scans, tables, time series and text become tensors.

Introduces loaders that say what is wrong with a file (images, volumes, tables, bikes, text), views of an
embedding (embedding) and four datasets: `photos` (real photographs), `wine`, `bikes`, `text`. The stand-ins of
the last three have the real files' names, columns and quirks. Takes from earlier chapters the reader of odd
image files (p1ch2).
"""

import importlib

from util.datasets import Dataset


def _later(module):
    """The generator of a module that is imported only when it is needed."""
    return lambda folder: importlib.import_module(f"p1ch4.{module}").generate(folder)


photos = Dataset(
    "photos",
    generate=_later("photographs"),
    version="3",
    required=("photo.jpg", "batch/*.*"),
    about="your photo.jpg and a folder batch of a few more",
    licence="photographs of scikit-image that anyone may use; bring your own",
)
wine = Dataset(
    "wine",
    generate=_later("draw_wine"),
    version="1",
    required=("winequality-white.csv",),
    about="white vinho verde: 11 measurements and a score, 4,898 wines (Cortez et al., 2009)",
    licence="UCI Machine Learning Repository, CC BY 4.0",
)
bikes = Dataset(
    "bikes",
    generate=_later("draw_bikes"),
    version="1",
    required=("hour.csv",),
    about="bike rentals by the hour, 2011 and 2012 (Fanaee-T and Gama, 2013)",
    licence="UCI Machine Learning Repository, CC BY 4.0",
)
text = Dataset(
    "text",
    generate=_later("draw_text"),
    version="1",
    required=("1342-0.txt",),
    about="a novel as Project Gutenberg stores it (1342-0.txt, Pride and Prejudice)",
    licence="public domain",
)
