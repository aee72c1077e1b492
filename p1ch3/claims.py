"""What notebook 3 says, held against the variables that it ends with."""

import torch

from p1ch3.storage import element_offsets, shares_storage
from util.claims import Claim

_TRIANGLE = [[4.0, 1.0], [5.0, 3.0], [2.0, 1.0]]
_POINTS = torch.tensor(_TRIANGLE)
_CHANGES = {"rebind": False, "add_in_place": True, "change_a_slice": True}


def _hidden(some_t):
    """The share of the storage that the drawn slice leaves out."""
    view = some_t[:, 1:, ::2]
    return 1 - view.numel() / some_t.numel()


CLAIMS = [
    Claim(
        "More than three quarters of the bright numbers are gone, and yet you could draw the disc from what is left",
        lambda v: 0 < v["on_the_rim"] < v["bright"] / 4,
        [{"on_the_rim": 80}, {"on_the_rim": 0}],
    ),
    Claim(
        "The list takes eight times the memory of the tensor",
        lambda v: 7.5 < v["list_bytes"] / v["tensor"].nbytes < 8.5,
        [{"list_bytes": 16_000_000}, {"tensor": torch.zeros(1_000_000, dtype=torch.float64)}],
    ),
    Claim(
        "`points[1]`, the second point, is no copy.",
        lambda v: v["changed_through_view"] == 10 and shares_storage(v["second_point"], v["points"]),
        [{"changed_through_view": 5.0}, {"second_point": _POINTS[1].clone()}],
    ),
    Claim(
        "The slice is a view, so zeroing it zeroed the triangle. The list made a copy",
        lambda v: not any(map(any, v["after"]["slice 1:"][1:])) and v["after"]["list [1, 2]"] == _TRIANGLE,
        [
            {"after": {"slice 1:": _TRIANGLE, "list [1, 2]": _TRIANGLE}},
            {"after": {"slice 1:": [[4, 1], [0, 0], [0, 0]], "list [1, 2]": [[4, 1], [0, 0], [0, 0]]}},
        ],
    ),
    Claim(
        "The plain mean makes pure green and pure blue the same grey; with the weights, green comes out ten times "
        "as bright.",
        lambda v: (
            v["pure_green"].mean() == v["pure_blue"].mean()
            and 9.5 < (v["pure_green"] @ v["weights"]) / (v["pure_blue"] @ v["weights"]) < 10.5
        ),
        [{"weights": torch.tensor([0.299, 0.587, 0.114])}, {"weights": torch.ones(3) / 3}],
    ),
    Claim(
        "The dots stand for any axes in front, so one line serves the picture and the batch.",
        lambda v: (
            torch.allclose(v["img_gray_weighted_fancy"], v["img_gray_weighted"])
            and torch.allclose(v["batch_gray_weighted_fancy"], v["batch_gray_weighted"])
        ),
        [{"img_gray_weighted": torch.ones(5, 6)}, {"batch_gray_weighted_fancy": torch.ones(2, 5, 6)}],
    ),
    Claim(
        "Two ways of today do the same job.",
        lambda v: all(
            torch.allclose(v[name], v["batch_gray_weighted"]) for name in ("grey_einops", "grey_dims")
        ),
        [{"grey_einops": torch.ones(2, 5, 6)}, {"grey_dims": torch.ones(2, 5, 6)}],
    ),
    Claim(
        "The loop got stuck at 4: there, the next number that `bfloat16` knows lies so far away that adding 0.01 "
        "rounds back to 4",
        lambda v: v["one_by_one"] == 4 and v["one_by_one"] + v["values"][0] == v["one_by_one"],
        [{"one_by_one": torch.tensor(3.0, dtype=torch.bfloat16)}, {"one_by_one": torch.tensor(4.0)}],
    ),
    Claim(
        "for a type as short as this PyTorch collects in a longer one and rounds once, at the end",
        lambda v: v["one_by_one"] != v["values"].sum() == v["values"].sum(dtype=torch.float64).bfloat16(),
        [{"one_by_one": torch.tensor(100.0, dtype=torch.bfloat16)}],
    ),
    Claim(
        "The nearest one is a little larger, and ten thousand of them are larger by a tenth",
        lambda v: 0.05 < v["values"].double().sum() - 100 < 0.15,
        [{"values": torch.full((10_000,), 0.01)}, {"values": torch.full((10_000,), 0.0101)}],
    ),
    Claim(
        "converting to an integer cuts off what is behind the point, and numbers from 0 to 1 all become 0",
        lambda v: v["points_64"].max() > 0.5 and not v["points_short"].any(),
        [{"points_short": torch.tensor([0, 1, 0, 0, 1])}, {"points_64": torch.full((5,), 0.2)}],
    ),
    Claim(
        "A *single number*, a Python one or a tensor without axes, counts only if its category is higher than the "
        "array's.",
        lambda v: (
            v["meetings"]["int16 array + 1"].dtype == torch.int16
            and v["meetings"]["int16 array + 1.5"].dtype == torch.float32
            and v["meetings"]["float16 array + float64 number"].dtype == torch.float16
            and v["meetings"]["float16 array + float64 array"].dtype == torch.float64
        ),
        [
            {
                "meetings": {
                    "int16 array + 1": torch.ones(1, dtype=torch.int16),
                    "int16 array + 1.5": torch.ones(1, dtype=torch.int16),
                    "float16 array + float64 number": torch.ones(1, dtype=torch.float16),
                    "float16 array + float64 array": torch.ones(1, dtype=torch.float64),
                }
            }
        ],
    ),
    Claim(
        "within one category the larger type (or, where neither can hold the other, the next that holds both)",
        lambda v: (
            v["meetings"]["int16 array + int64 array"].dtype == torch.int64
            and v["meetings"]["float16 array + bfloat16 array"].dtype == torch.float32
        ),
        [
            {
                "meetings": {
                    "int16 array + int64 array": torch.ones(1, dtype=torch.int64),
                    "float16 array + bfloat16 array": torch.ones(1, dtype=torch.bfloat16),
                }
            }
        ],
    ),
    Claim(
        "Moving the triangle's centre to the origin takes one line.",
        lambda v: v["centered"].mean(dim=0).abs().max() < 1e-6 and v["centered"].abs().max() > 1,
        [{"centered": _POINTS}, {"centered": torch.zeros(3, 2)}],
    ),
    Claim(
        "read as integers, the same bytes give quite other numbers",
        lambda v: (
            shares_storage(v["as_integers"], v["flat"]) and (v["as_integers"] != v["flat"]).all().item()
        ),
        [{"as_integers": torch.tensor([4, 1, 5, 3, 2, 1])}, {"as_integers": _POINTS.view(6)}],
    ),
    Claim(
        "Whatever is written into the storage shows in every tensor that looks at it.",
        lambda v: v["seen_in_points"] == 40 and v["flat"][0] == v["points"][0, 0] == 4,
        [{"seen_in_points": 4.0}, {"flat": torch.full((6,), 40.0)}],
    ),
    Claim(
        "the selection is a copy, and the copy is changed and thrown away. The fifth looks just like it and does work",
        lambda v: v["changed"] == {**_CHANGES, "change_a_selection": False, "assign_a_selection": True},
        [
            {"changed": {**_CHANGES, "change_a_selection": True, "assign_a_selection": True}},
            {"changed": {**_CHANGES, "change_a_selection": False, "assign_a_selection": False}},
        ],
    ),
    Claim(
        "The addresses differ, since the first y lies one place after the first x, and yet it is a view",
        lambda v: (
            v["y_coordinates"].data_ptr() == v["points"].data_ptr() + v["points"].element_size()
            and shares_storage(v["y_coordinates"], v["points"])
        ),
        [{"y_coordinates": _POINTS[:, 1]}, {"points": _POINTS}],
    ),
    Claim(
        '`expand` makes five "copies" of the triangle with a stride of 0 along the new axis',
        lambda v: (
            v["operations"]["points.expand(5, 3, 2)"].shape[0] == 5
            and v["operations"]["points.expand(5, 3, 2)"].stride(0) == 0
        ),
        [{"operations": {"points.expand(5, 3, 2)": _POINTS.expand(5, 3, 2).clone()}}],
    ),
    Claim(
        "`reshape` is a view where it can be and a copy where it must",
        lambda v: (
            [
                shares_storage(v["operations"][name], v["points"])
                for name in ("points.reshape(2, 3)", "points.t().reshape(6)")
            ]
            == [True, False]
        ),
        [{"points": _POINTS}],
    ),
    Claim(
        "The storage has not changed and each element has kept its place.",
        lambda v: (
            shares_storage(v["points_t"], v["points"])
            and torch.equal(element_offsets(v["points_t"]).t(), element_offsets(v["points"]))
        ),
        [{"points_t": _POINTS.t()}, {"points_t": _POINTS.t().contiguous()}],
    ),
    Claim(
        "Two thirds of the elements belong to nobody in this view",
        lambda v: abs(_hidden(v["some_t"]) - 2 / 3) < 1e-9,
        [{"some_t": torch.arange(30).reshape(2, 3, 5)}],
    ),
    Claim(
        "`contiguous()` copied the elements in their new order, into a storage of its own.",
        lambda v: (
            torch.equal(v["points_t_cont"], v["points_t"])
            and not shares_storage(v["points_t_cont"], v["points_t"])
            and element_offsets(v["points_t_cont"]).flatten().tolist() == list(range(6))
        ),
        [{"points_t_cont": _POINTS.t()}, {"points_t_cont": _POINTS.reshape(2, 3)}],
    ),
    Claim(
        "Sixteen times as many: against the grain, every element comes from a line of its own",
        lambda v: (
            v["lines_touched"]["transposed"] == 1000
            and 15 < v["lines_touched"]["transposed"] / v["lines_touched"]["in order"] <= 16
        ),
        [
            {"lines_touched": {"in order": 63, "transposed": 500}},
            {"lines_touched": {"in order": 125, "transposed": 1000}},
        ],
    ),
    Claim(
        "`numpy()` and `from_numpy` copy nothing",
        lambda v: (
            v["seen_by_tensor"] == -1
            and v["points_np"].__array_interface__["data"][0] == v["points"].data_ptr()
        ),
        [{"points_np": _POINTS.numpy().copy()}, {"seen_by_tensor": 4.0}],
    ),
    Claim(
        "The sparse table takes less than a hundredth of the memory",
        lambda v: v["sparse_bytes"] < v["dense_bytes"] / 100,
        [{"sparse_bytes": 5_000_000}],
    ),
    Claim(
        "Rounding costs half a step at most, give or take the rounding of the zero point.",
        lambda v: 0.4 * v["scale"] < v["largest_error"] <= 1.01 * v["scale"],
        [{"largest_error": 0.1}, {"largest_error": 0.0}],
    ),
    Claim(
        "The products are off by about one percent, and for that the weights take a quarter of the memory.",
        lambda v: 0.005 < v["relative_error"] < 0.015 and 4 * v["codes"].nbytes == v["exact_weights"].nbytes,
        [{"relative_error": 0.03}, {"relative_error": 0.001}, {"codes": torch.zeros(256, 256)}],
    ),
    Claim(
        "Refused, and nothing ran.",
        lambda v: v["surprises"] == [],
        [{"surprises": ["this could have been any command"]}],
    ),
    Claim(
        "Three numbers, and the file of the slice is more than two hundred times as large as that of the clone.",
        lambda v: v["file_bytes"]["slice"] > 200 * v["file_bytes"]["clone"],
        [{"file_bytes": {"slice": 1563, "clone": 1563}}, {"file_bytes": {"slice": 200_000, "clone": 1563}}],
    ),
    Claim(
        "For two points out of a million, about one percent of the file was read",
        lambda v: (
            torch.equal(v["last_points"], v["walk"][-2:])
            and 0.005 < v["read_for_two"] / v["walk_bytes"] < 0.015
        ),
        [{"read_for_two": 8_009_248}, {"last_points": torch.zeros(2, 2)}],
    ),
]
