"""What notebook 4 says, held against the variables that it ends with. The numbers are those of the stand-ins."""

import torch

from util.claims import Claim


def _rhythm(v):
    """(first peak, second peak) of working days, the peak of the others, as hours of the day."""
    working, others = v["rentals"][v["working"]].mean(0), v["rentals"][~v["working"]].mean(0)
    return working[:12].argmax().item(), 12 + working[12:].argmax().item(), others.argmax().item()


def _best(v):
    """The measurement with the largest gain, and by how much it leads."""
    gains = dict(zip(v["col_list"], v["gains"]))
    first, second = sorted(gains, key=gains.get)[:-3:-1]
    return first, gains[first] - gains[second]


def _whole(v):
    """Are the five commonest words single pieces?"""
    return all(len(v["pieces_of"][word]) == 1 for word, _ in v["how_often"].most_common(5))


_DAYS = torch.ones(731, dtype=torch.bool)
_GAINS = [0.0, 0.8, 0.0, 0.1, 1.5, 0.0, 0.0, 1.3, 0.0, 0.0]

CLAIMS = [
    Claim(
        "Ginger is a colour with much red, some green and little blue, and so the cat grows darker from channel to "
        "channel.",
        lambda v: v["channel_means"][0] > 1.2 * v["channel_means"][1] > 1.4 * v["channel_means"][2],
        [{"channel_means": [110, 111, 87]}, {"channel_means": [148, 111, 110]}],
    ),
    Claim(
        "Three channels, or four, or none; 8 bits or 16; and in `sideways.jpg` a cat lying on its side",
        lambda v: (
            len({text.partition(")")[0].count(",") for text in v["by_imageio"].values() if "(" in text}) == 2
            and "uint16" in v["by_imageio"]["sixteen_bits.png"]
            and v["by_imageio"]["sideways.jpg"].startswith("(160, 106")
        ),
        [
            {"by_imageio": {"sixteen_bits.png": "(106, 160) uint16", "sideways.jpg": "(106, 160, 3) uint8"}},
            {"by_imageio": {"sixteen_bits.png": "(106, 160) uint8", "sideways.jpg": "(160, 106, 3) uint8"}},
        ],
    ),
    Claim(
        "All readable files now have one shape and one type.",
        lambda v: {text for text in v["by_pillow"].values() if "(" in text} == {"(3, 106, 160) uint8"},
        [{"by_pillow": {"a.png": "(3, 106, 160) uint8", "b.jpg": "(3, 160, 106) uint8"}}],
    ),
    Claim(
        "The 16-bit picture came out white: its brightnesses run to 65,535, and converting cut everything off at 255.",
        lambda v: v["white"] == 255 and 80 < v["grey"] < 180,
        [{"white": 119.0}, {"grey": 255.0}],
    ),
    Claim(
        "`reshape` keeps the order of the numbers and cuts it into new rows",
        lambda v: (
            torch.equal(v["wrong_way"].flatten(), v["img"].flatten())
            and not torch.equal(v["out"].flatten(), v["img"].flatten())
            and v["wrong_way"].shape == v["out"].shape
        ),
        [{"wrong_way": torch.zeros(3, 300, 451)}, {"out": torch.zeros(1)}],
    ),
    Claim(
        "Normalized all together, the rocket stays the darkest picture, as it was taken at dusk.",
        lambda v: (
            v["filenames"][int(v["brightness"]["all together"].argmin())] == "rocket.jpg"
            and v["brightness"]["all together"].min() < -0.2
        ),
        [
            {"brightness": {"all together": torch.tensor([-0.3, 0.1, 0.2])}},
            {"brightness": {"all together": torch.zeros(3)}},
        ],
    ),
    Claim(
        "Normalized each by itself, all three come out equally bright, and what told dusk from daylight is gone.",
        lambda v: v["brightness"]["each by itself"].max() < 1e-4,
        [{"brightness": {"each by itself": torch.tensor([0.3, 0.0, 0.3])}}],
    ),
    Claim(
        "In order, neighbours differ less than half as much.",
        lambda v: 0 < v["jump_in_order"] < v["jump_by_name"] / 2,
        [{"jump_in_order": 100.0}, {"jump_by_name": 60.0}],
    ),
    Claim(
        "Two readers rarely share a mistake. So we compare our steps with",
        lambda v: v["same_voxels"] == [True, True],
        [{"same_voxels": [True, False]}, {"same_voxels": [False, True]}],
    ),
    Claim(
        "and looks for strangers. A common case: a folder that holds two series",
        lambda v: v["refused"].startswith("holds 2 series"),
        [{"refused": "holds 66 slices"}],
    ),
    Claim(
        "Most wines are middling, and the extremes are rare",
        lambda v: ((v["target"] >= 5) & (v["target"] <= 6)).float().mean() > 0.6 and len(v["bad_data"]) < 50,
        [{"target": torch.arange(10)}, {"bad_data": torch.zeros(500, 11)}],
    ),
    Claim(
        "Before, one step of total sulfur dioxide outweighed one of density ten thousand times over",
        lambda v: 1e4 < v["loudest"] / v["quietest"] < 2e4,
        [{"loudest": 5.0}, {"quietest": 0.02}],
    ),
    Claim(
        "the bad wines have most of it, the good ones least",
        lambda v: v["bad_mean"][6] > v["mid_mean"][6] > v["good_mean"][6],
        [{"good_mean": torch.full((11,), 150.0)}, {"bad_mean": torch.full((11,), 130.0)}],
    ),
    Claim(
        "The difference is about twice its error: a hint, no more.",
        lambda v: 1.5 < v["gap"] / v["bad_error"] < 2.5,
        [{"bad_error": 2.0}, {"gap": 3.0}],
    ),
    Claim(
        'our rule is *worse* than always saying "decent"',
        lambda v: v["accuracy"] < v["always_decent"] - 0.05,
        [{"accuracy": 0.66}],
    ),
    Claim(
        "Alcohol tells more than any other single measurement, and still not much: its best threshold is right "
        "three or four times more in a hundred wines than no threshold at all.",
        lambda v: _best(v)[0] == "alcohol" and _best(v)[1] > 1 and 3 <= max(v["gains"]) <= 4.5,
        [{"gains": [*_GAINS, 1.4]}, {"gains": [*_GAINS, 9.0]}],
    ),
    Claim(
        "Total sulfur dioxide, with which we began, gains nothing to speak of.",
        lambda v: 0 <= v["gains"][6] < 0.2,
        [{"gains": [*_GAINS[:6], 1.0, *_GAINS[7:], 3.4]}],
    ),
    Claim(
        "each gap shifts all that comes after it, and hardly a day begins at midnight",
        lambda v: v["starts_at_midnight"].float().mean() < 0.05,
        [{"starts_at_midnight": _DAYS}],
    ),
    Claim(
        "No hour in the file has zero rentals, and more gaps lie between 2 and 6 at night than in all other hours "
        "together",
        lambda v: (
            v["bikes_numpy"][:, v["at"]["cnt"]].min() == 1
            and 2 * v["gaps_by_hour"][2:6].sum() > v["gaps_by_hour"].sum()
        ),
        [{"gaps_by_hour": torch.full((24,), 4)}, {"bikes_numpy": torch.zeros(5, 17)}],
    ),
    Claim(
        "Only weekdays differ, and the library is right.",
        lambda v: {v["bike_columns"][c] for c in v["differs"].nonzero()[:, 1].tolist()} == {"weekday"},
        [{"differs": torch.zeros(5, 17, dtype=torch.bool)}, {"differs": torch.ones(5, 17, dtype=torch.bool)}],
    ),
    Claim(
        "two bright bands of commuters, at 8 and at 17 o'clock on working days; a broad hill of strollers around 1 "
        "p.m. on the others",
        lambda v: _rhythm(v)[:2] == (8, 17) and _rhythm(v)[2] in (12, 13, 14),
        [{"working": ~_DAYS | (torch.arange(731) % 7 < 2)}, {"rentals": torch.arange(24.0).expand(731, 24)}],
    ),
    Claim(
        "from mist to light rain they fall several times as far as from clear to mist",
        lambda v: 0 < 2 * (v["by_state"][0] - v["by_state"][1]) < v["by_state"][1] - v["by_state"][2],
        [{"by_state": [197.0, 150.0, 90.0]}, {"by_state": [170.0, 173.0, 90.0]}],
    ),
    Claim(
        "A single wrong value has squeezed all others into two percent of the range.",
        lambda v: 0.015 < v["squeezed"] < 0.025,
        [{"squeezed": 1.0}, {"squeezed": 0.05}],
    ),
    Claim(
        "The standardized ones suffer, too, but keep about half of their spread.",
        lambda v: 0.4 < v["standard"][v["others"]].std() < 0.6,
        [{"standard": torch.randn(731, 24)}, {"standard": torch.randn(731, 24) / 50}],
    ),
    Claim(
        "casual plus registered rentals make exactly the count that would be predicted",
        lambda v: v["counts_leak"],
        [{"counts_leak": False}],
    ),
    Claim(
        "The 16-bit file keeps every value to half a step.",
        lambda v: 0 < (v["waveform"][0] - v["chirp"]).abs().max() <= 0.501 / 32767,
        [{"waveform": torch.zeros(1, 16000)}],
    ),
    Claim(
        "The rising pitch is a straight, rising line: half way through, it has come half the way.",
        lambda v: (
            abs(v["loudest_hz"][len(v["loudest_hz"]) // 2] - 1100) < 32
            and abs(v["loudest_hz"][-3] - 2000) < 64
            and (v["loudest_hz"].diff() >= 0).all()
        ),
        [{"loudest_hz": torch.full((251,), 1100.0)}, {"loudest_hz": torch.linspace(200, 3000, 251)}],
    ),
    Claim(
        "And the speed is in the tensor, too: the ball's middle moves by 2 pixels a picture.",
        lambda v: (v["steps"] - 2).abs().max() < 0.1,
        [{"steps": torch.full((23,), 1.5)}],
    ),
    Claim(
        "To these numbers, any two words are √2 apart, whatever they mean.",
        lambda v: torch.allclose(torch.cdist(v["trio"], v["trio"]), 2**0.5 * (1 - torch.eye(3)), atol=1e-5),
        [{"trio": torch.eye(3) * 2}, {"trio": torch.tensor([[0.0, 1], [0, 2], [0, 3]])}],
    ),
    Claim(
        "Sixty merges have cut the number of pieces nearly in half",
        lambda v: 0.5 < v["pieces_at_last"] / v["letters_at_first"] < 0.6,
        [{"pieces_at_last": 200_000}, {"letters_at_first": 120_000}],
    ),
    Claim(
        "the five commonest words have become whole, with their end mark",
        _whole,
        [{"pieces_of": {word: (*word, "_") for word in ("the", "a", "and", "to", "her", "in", "was")}}],
    ),
    Claim(
        "Pairs count within words only, never across a space.",
        lambda v: all("_" not in piece[:-1] for pieces in v["pieces_of"].values() for piece in pieces),
        [{"pieces_of": {"the": ("the_c",)}}],
    ),
    Claim(
        "In the stand-in, foods find foods, rooms find rooms, people find people.",
        lambda v: v["share_learned"] > 0.9 and v["share_untrained"] < 0.25,
        [{"share_learned": 0.5}, {"share_untrained": 0.9}],
    ),
    Claim(
        "Most hours lie beside their neighbours on the clock, though nobody said that hours have any",
        lambda v: v["clock_learned"] >= 12 and v["clock_untrained"] <= 6,
        [{"clock_learned": 5}, {"clock_untrained": 14}],
    ),
]
