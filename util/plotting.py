"""The course's look for figures: readable at page width, safe for colour-blind readers."""

import matplotlib as mpl
import matplotlib.pyplot as plt

# Okabe and Ito (2008), in the order in which lines take them.
BLUE, ORANGE, GREEN, PINK, SKY, VERMILION, YELLOW, BLACK = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000",
)  # fmt: skip
COLOURS = [BLUE, ORANGE, GREEN, PINK, SKY, VERMILION, BLACK, YELLOW]


def use_course_style():
    """Set matplotlib's defaults for every figure that follows. Call it once per notebook."""
    plt.rcdefaults()
    mpl.rcParams.update(
        {
            "figure.figsize": (8, 4),
            "figure.dpi": 90,
            "savefig.dpi": 90,
            "figure.constrained_layout.use": True,
            "font.size": 11,
            "axes.titlesize": 12,
            "axes.prop_cycle": mpl.cycler(color=COLOURS),
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "grid.alpha": 0.25,
            "lines.linewidth": 1.8,
            "legend.frameon": False,
            "image.cmap": "gray",
            "image.interpolation": "nearest",
        }
    )


def show_images(images, titles=None, columns=None, size=1.6, **imshow):
    """Draw `images` (arrays H×W or H×W×3) in a grid without axes; returns the figure."""
    images = list(images)
    columns = columns or min(len(images), 5)
    rows = -(-len(images) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(size * columns, (size + 0.3) * rows), squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for number, image in enumerate(images):
        axis = axes.flat[number]
        axis.imshow(image, **imshow)
        if titles is not None:
            axis.set_title(titles[number], fontsize=9)
    return figure
