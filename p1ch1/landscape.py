"""The frameworks' history in one figure (chapter 1, "The deep learning competitive landscape")."""

import matplotlib.pyplot as plt

from util.plotting import BLUE, ORANGE, SKY

# Name, first public release, end of active development (None: alive), one remark.
FRAMEWORKS = [
    ("Torch (Lua)", 2002, 2018, "PyTorch's ancestor"),
    ("Theano", 2007, 2017, "graphs first, from Montreal"),
    ("Caffe", 2013, 2018, "vision; its successor joined PyTorch"),
    ("Keras", 2015, None, "one interface, three engines since 2023"),
    ("Chainer", 2015, 2019, "define by run; its team moved to PyTorch"),
    ("TensorFlow", 2015, None, "eager by default since 2019"),
    ("MXNet", 2015, 2023, "retired by Apache"),
    ("CNTK", 2016, 2019, "Microsoft, who then backed PyTorch"),
    ("PyTorch", 2016, None, "Linux Foundation since 2022"),
    ("JAX", 2018, None, "functions transformed and compiled"),
]


def draw_landscape(until):
    """Draw a bar per framework from its first release to its end, or to the year `until`; returns the figure."""
    figure, axis = plt.subplots(figsize=(9, 4.4))
    for place, (name, start, end, remark) in enumerate(reversed(FRAMEWORKS)):
        colour = ORANGE if name == "PyTorch" else BLUE if end is None else SKY
        axis.barh(place, (end or until) - start, left=start, color=colour, height=0.6)
        axis.text(until + 0.4, place, remark, va="center", fontsize=9)
    axis.set_yticks(range(len(FRAMEWORKS)), [name for name, *_ in reversed(FRAMEWORKS)])
    axis.set_xlim(2001, until + 12)
    axis.set_xticks(range(2002, until + 1, 4))
    axis.set_xlabel("year")
    axis.set_title("Dark: in active development. Light: ended. Orange: PyTorch")
    axis.grid(axis="y", visible=False)
    return figure
