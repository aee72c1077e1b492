"""Chapter 12's exercises: each with its text, stub, hints, check, solution and wrong answers."""

import math

import numpy as np
import torch
from torch.nn import functional as F

from util.exercises import (
    BUG,
    BUILD,
    EXPERIMENT,
    PREDICT,
    Exercise,
    as_tensor,
    case,
    expect,
    parts,
    predicted,
    same,
)

# ---------------------------------------------------------------- 12.1

measures = Exercise(
    "12.1",
    title="Four counts, many measures",
    difficulty=1,
    minutes=10,
    kind=PREDICT,
    text="""
    Of 1,000 candidates, 12 are nodules. A classifier calls 8 of all candidates nodules, and 6 of these are.
    What are its measures, and those of two classifiers that do not look at their input? Exact numbers, no
    percentages.
    """,
    stub="""
    gives = {
        "accuracy": ...,
        "precision": ...,
        "recall": ...,
        "F1 score": ...,
        "accuracy of always no": ...,
        "recall of always no": ...,
        "precision of always yes": ...,
        "recall of always yes": ...,
    }
    """,
    hints=(
        "Write down the four counts first: right and wrong yes, right and wrong no.",
        "6 right alarms, 2 false ones, 6 missed, 986 rightly left alone. Precision divides by the alarms, "
        "recall by the nodules.",
        "F1 = 2 · P · R / (P + R) with P = 6/8 and R = 6/12. Always yes: 12 of 1,000 alarms are right, "
        "and nothing is missed.",
    ),
    why="""
    Accuracy is 0.992 against 0.988 for always no: 986 easy candidates hide the twelve that matter.
    Precision and recall look only at alarms and at nodules, and either alone can be had for nothing, by
    saying yes always or hardly ever.
    """,
)


@measures.check
def check_measures(prediction):
    right, false, missed, quiet = 6, 2, 6, 986
    precision, recall = right / (right + false), right / (right + missed)
    truth = (
        *((right + quiet) / 1000, precision, recall, 2 * precision * recall / (precision + recall)),
        *(988 / 1000, 0, 12 / 1000, 1),
    )
    predicted(prediction, dict(zip(measures.stub_keys, truth)))


measures.solution("""
gives = {
    "accuracy": 0.992,
    "precision": 0.75,
    "recall": 0.5,
    "F1 score": 0.6,
    "accuracy of always no": 0.988,
    "recall of always no": 0,
    "precision of always yes": 0.012,
    "recall of always yes": 1,
}
""")
_MEASURES = dict(zip(measures.stub_keys, (0.992, 0.75, 0.5, 0.6, 0.988, 0, 0.012, 1)))
measures.right({**_MEASURES, "accuracy": 992 / 1000, "precision": 6 / 8, "recall of always no": 0.0})
measures.right({key: torch.tensor(value) for key, value in _MEASURES.items()})
measures.wrong({**_MEASURES, "precision": 0.5, "recall": 0.75})
measures.wrong({**_MEASURES, "F1 score": 0.625})
measures.wrong({**_MEASURES, "accuracy": 0.994})
measures.wrong({**_MEASURES, "precision of always yes": 1})
measures.wrong({key: 100 * value for key, value in _MEASURES.items()})

# ---------------------------------------------------------------- 12.2

stale = Exercise(
    "12.2",
    title="Augmented once and for all",
    difficulty=2,
    minutes=20,
    kind=BUG,
    text="""
    Reading a crop is slow, so `Augmented` remembers what it has read. Yet with it augmentation hardly
    helps: every epoch shows the very same pictures. Mend it. Each crop is still to be read once only, each
    access is to be augmented anew, and some augmentations write into what they are given.
    """,
    stub='''
    class Augmented:
        def __init__(self, read, augment):
            """read(ndx) returns a crop (slow), augment(crop) a changed one (random)."""
            self.read, self.augment, self.cache = read, augment, {}

        def __getitem__(self, ndx):
            if ndx not in self.cache:
                self.cache[ndx] = self.augment(self.read(ndx))
            return self.cache[ndx]
    ''',
    hints=(
        "What exactly lies in the cache, the crop or something made from it?",
        "Cache what was read, and augment on the way out. And what if the augmentation writes into the "
        "cached crop?",
        "`return self.augment(self.cache[ndx].clone())`",
    ),
    why="""
    A cache belongs below everything random. The second mistake is the quieter one: an augmentation in place
    changes the cached crop, and the next epoch augments what was augmented already, until little is left of
    the original.
    """,
)


@stale.check
def check_stale(answer):
    # From 501 to 1000, so that what was added twice is always too much.
    def adds(crop):
        return crop + 501 + torch.randint(500, ())

    def adds_in_place(crop):
        crop += 501 + torch.randint(500, ())
        return crop

    for words, augment in (("a new tensor", adds), ("the same tensor, changed", adds_in_place)):
        for accesses in ([0], [0, 1], [0, 0], [0, 1, 0, 1, 1]):
            reads, first = [], -10_000.0 * int(torch.randint(1, 50, ()))

            def read(ndx, reads=reads, first=first):
                reads.append(ndx)
                return torch.full((2,), first - 1_000_000 * ndx)

            with case(f"an augmentation that returns {words}, and the accesses {accesses}"):
                crops = answer(read, augment)
                seen = {}
                for ndx in accesses:
                    got = as_tensor(crops[ndx], "a crop")
                    expect(got.shape == (2,), f"a crop should keep its shape (2,), not {tuple(got.shape)}.")
                    added = got - (first - 1_000_000 * ndx)
                    expect((added.abs() < 9000).all(), f"crops[{ndx}] is not crop {ndx}.")
                    expect((added >= 1).all(), "a crop comes out without augmentation.")
                    expect((added <= 1000).all(), "a crop comes out augmented more than once.")
                    seen.setdefault(ndx, []).append(got.tolist())
                twice = [ndx for ndx in seen if reads.count(ndx) > 1]
                expect(
                    not twice,
                    f"crop {min(twice, default=0)} was read {reads.count(min(twice, default=0))} times.",
                )
    crops = answer(lambda ndx: torch.zeros(1), adds)
    several = {str(as_tensor(crops[0]).tolist()) for _ in range(6)}
    expect(len(several) > 1, "Six accesses to the same crop give the same picture.")


class Augmented:
    def __init__(self, read, augment):
        self.read, self.augment, self.cache = read, augment, {}

    def __getitem__(self, ndx):
        if ndx not in self.cache:
            self.cache[ndx] = self.read(ndx)
        return self.augment(self.cache[ndx].clone())


stale.solution(Augmented)


@stale.right
class WithLruCache:
    def __init__(self, read, augment):
        import functools

        self.raw, self.augment = functools.lru_cache(maxsize=None)(read), augment

    def __getitem__(self, ndx):
        return self.augment(1 * self.raw(ndx))


@stale.right
class AsADataset(torch.utils.data.Dataset):
    def __init__(self, read, augment):
        self.crops, self.read, self.augment = {}, read, augment

    def __getitem__(self, ndx):
        crop = self.crops.setdefault(ndx, None)
        if crop is None:
            crop = self.crops[ndx] = self.read(ndx).numpy()
        return self.augment(torch.from_numpy(crop.copy()))


@stale.wrong
class WithoutACache(Augmented):
    def __getitem__(self, ndx):
        return self.augment(self.read(ndx))


@stale.wrong
class HandsOutTheCachedCrop(Augmented):
    def __getitem__(self, ndx):
        if ndx not in self.cache:
            self.cache[ndx] = self.read(ndx)
        return self.augment(self.cache[ndx])


@stale.wrong
class WithoutAugmentation(Augmented):
    def __getitem__(self, ndx):
        if ndx not in self.cache:
            self.cache[ndx] = self.read(ndx)
        return self.cache[ndx]


@stale.wrong
class AugmentsTheAugmented(Augmented):
    def __getitem__(self, ndx):
        if ndx not in self.cache:
            self.cache[ndx] = self.augment(self.read(ndx))
        return self.augment(self.cache[ndx].clone())


@stale.wrong
class OneCropForAll(Augmented):
    def __getitem__(self, ndx):
        return super().__getitem__(0)


@stale.wrong
class OneCacheForAllDatasets:
    cache: dict = {}

    def __init__(self, read, augment):
        self.read, self.augment = read, augment

    def __getitem__(self, ndx):
        if ndx not in self.cache:
            self.cache[ndx] = self.read(ndx)
        return self.augment(self.cache[ndx].clone())


@stale.wrong
class AugmentsTheFirstAccessOnly(Augmented):
    def __getitem__(self, ndx):
        if ndx not in self.cache:
            self.cache[ndx] = self.read(ndx)
            return self.augment(self.cache[ndx].clone())
        return self.cache[ndx]


# ---------------------------------------------------------------- 12.3

turns = Exercise(
    "12.3",
    title="Everybody gets a turn",
    difficulty=2,
    minutes=20,
    kind=BUILD,
    text="""
    Of `others` candidates an epoch shows only `per_epoch`, and drawing them anew each time leaves some out for
    long. Do better: return which ones epoch `epoch` shows, so that after any number of epochs no candidate has
    been shown more than once more often than any other. Within an epoch none comes twice. A resumed training
    asks for epoch 7 without having asked for the six before, and must get the same.
    """,
    stub='''
    def others_of(epoch, per_epoch, others):
        """epoch: from 0; per_epoch: from 1 to others. Returns a list of per_epoch places, from 0 to others - 1."""
        raise NotImplementedError("your turn")
    ''',
    hints=(
        "Think of dealing cards: the next epoch goes on where this one stopped. What happens at the end of the "
        "list?",
        "With 5 others and 3 an epoch: 0 1 2, then 3 4 and from the beginning 0, then 1 2 3.",
        "Epoch `epoch` begins at `epoch * per_epoch`; count on from there, modulo `others`.",
    ),
    why="""
    All that has been shown, one after the other, is 0, 1, 2, … again and again, so that counts differ by one at
    most. Ten draws of a tenth would leave out more than a third of all candidates. In a real training, put a
    shuffled list under these places, shuffled with a fixed seed.
    """,
)


@turns.check
def check_turns(answer):
    for others in (1, 2, 3, 5, 7, 12):
        for per_epoch in range(1, others + 1):
            with case(others=others, per_epoch=per_epoch):
                shown = [0] * others
                for epoch in range(2 * others + 1):
                    got = [
                        int(place)
                        for place in parts(answer(epoch, per_epoch, others), per_epoch, "return places.")
                    ]
                    outside = [place for place in got if not 0 <= place < others]
                    expect(
                        not outside,
                        f"epoch {epoch} shows {got}, and there are {others} others, counted from 0.",
                    )
                    expect(len(set(got)) == per_epoch, f"epoch {epoch} shows {got}: one comes twice.")
                    for place in got:
                        shown[place] += 1
                    expect(
                        max(shown) - min(shown) <= 1,
                        f"after epoch {epoch} the others have been shown {shown} times.",
                    )
                late = 2 * others
                again = [int(place) for place in answer(late, per_epoch, others)]
                expect(
                    sorted(again) == sorted(got),
                    f"epoch {late}, asked for again, shows others: {got}, then {again}.",
                )


@turns.solution
def others_of(epoch, per_epoch, others):
    start = epoch * per_epoch
    return [(start + place) % others for place in range(per_epoch)]


@turns.right
def with_arange(epoch, per_epoch, others):
    return torch.arange(epoch * per_epoch, (epoch + 1) * per_epoch) % others


@turns.right
def from_the_end(epoch, per_epoch, others):
    return others - 1 - np.arange(epoch * per_epoch, epoch * per_epoch + per_epoch) % others


@turns.right
def in_a_shuffled_list(epoch, per_epoch, others):
    order = torch.randperm(others, generator=torch.Generator().manual_seed(0)).tolist()
    return [order[(epoch * per_epoch + place) % others] for place in range(per_epoch)]


@turns.wrong
def always_the_first(epoch, per_epoch, others):
    return list(range(per_epoch))


@turns.wrong
def drawn_by_chance(epoch, per_epoch, others):
    return torch.randperm(others, generator=torch.Generator().manual_seed(epoch))[:per_epoch]


@turns.wrong
def leaves_the_rest_out(epoch, per_epoch, others):
    start = epoch % (others // per_epoch) * per_epoch
    return list(range(start, start + per_epoch))


@turns.wrong
def one_further_each_time(epoch, per_epoch, others):
    return [(epoch + place) % others for place in range(per_epoch)]


@turns.wrong
def forgets_to_begin_again(epoch, per_epoch, others):
    return list(range(epoch * per_epoch, (epoch + 1) * per_epoch))


@turns.wrong
def every_so_many(epoch, per_epoch, others):
    return [(epoch + place * (others // per_epoch)) % others for place in range(per_epoch)]


# ---------------------------------------------------------------- 12.4

threshold = Exercise(
    "12.4",
    title="A threshold for a promise",
    difficulty=2,
    minutes=20,
    kind=BUILD,
    text="""
    Doctors want at least a share `recall` of the nodules. Return the highest threshold for which that
    share, or more, scores at least as much as the threshold: the fewest false alarms that keep the promise.
    """,
    stub='''
    def threshold_for_recall(label, score, recall):
        """label: (N,) bool, score: (N,) floats, both tensors; recall: above 0, at most 1. Returns a number."""
        raise NotImplementedError("your turn")
    ''',
    hints=(
        "Which scores matter? And how many of them may stay below the threshold?",
        "Sort the scores of the nodules, highest first. The threshold is one of them: which place?",
        "With k nodules, at least recall · k of them are wanted, rounded up to a whole number n: the n-th "
        "highest. Mind that 0.9 · 10 may come out as 9.000000000000002.",
    ),
    why="""
    The threshold is itself the score of a nodule: a hair higher, and that nodule is lost. The promise is
    kept on these nodules; on others it holds only about as far as they are many and alike, which is the
    next thing to ask.
    """,
)


@threshold.check
def check_threshold(answer):
    cases = [
        ([1], [0.5], 1.0),
        ([0, 1], [0.9, 0.5], 1.0),
        ([1, 1], [0.2, 0.8], 0.5),
        ([1, 1], [0.2, 0.8], 0.51),
    ]
    cases += [([1, 1], [0.2, 0.8], 0.1), ([1, 0, 1, 0, 1, 1, 0], [0.9, 0.95, 0.8, 0.1, 0.3, 0.6, 0.7], 0.75)]
    cases += [([1, 1, 1, 0], [0.5, 0.5, 0.1, 0.4], 0.5), ([1] * 10, [n / 16 for n in range(10)], 0.9)]
    for wanted in (0.31, 0.5, 0.7, 0.9, 1.0):
        label = torch.rand(60) < 0.4
        label[:5] = True
        cases.append((label.tolist(), (torch.randperm(60) / 64).tolist(), wanted))
    for label, score, recall in cases:
        label, score = torch.tensor(label).bool(), torch.tensor(score)
        above = score[label].sort(descending=True).values
        best = next(t for n, t in enumerate(above, 1) if n >= recall * len(above) - 1e-9)
        with case(label=label, score=score, recall=recall):
            got = as_tensor(answer(label.clone(), score.clone(), recall))
            expect(got.numel() == 1, f"one number is wanted, not {got.numel()}.")
            reached = (score[label] >= got.float() - 1e-6).float().mean().item()
            expect(
                reached >= recall - 1e-6,
                f"at {float(got):.4g} or more are only {reached:.0%} of the nodules.",
            )
            same(got.reshape(()), best, "the threshold")


@threshold.solution
def threshold_for_recall(label, score, recall):
    nodules = score[label].sort(descending=True).values
    wanted = math.ceil(recall * len(nodules) - 1e-9)
    return nodules[wanted - 1].item()


@threshold.right
def with_torch_sort(label, score, recall):
    values, _ = torch.sort(score[label])
    return values[int((1 - recall) * len(values) + 1e-6)]


@threshold.right
def in_numpy_by_trying_all(label, score, recall):
    nodules = score.numpy()[label.numpy()]
    keeps = [t for t in nodules if (nodules >= t).mean() >= recall - 1e-9]
    return np.array(max(keeps))


@threshold.wrong
def among_all_candidates(label, score, recall):
    return threshold_for_recall(torch.ones_like(label), score, recall)


@threshold.wrong
def rounds_down(label, score, recall):
    nodules = score[label].sort(descending=True).values
    return nodules[max(int(recall * len(nodules)), 1) - 1]


@threshold.wrong
def one_too_low(label, score, recall):
    nodules = score[label].sort(descending=True).values
    return nodules[min(math.ceil(recall * len(nodules) - 1e-9), len(nodules) - 1)]


@threshold.wrong
def interpolates(label, score, recall):
    return torch.quantile(score[label], 1 - recall)


@threshold.wrong
def lowest_score_of_a_nodule(label, score, recall):
    return score[label].min()


@threshold.wrong
def one_half(label, score, recall):
    return 0.5


# ---------------------------------------------------------------- 12.5

pairs = Exercise(
    "12.5",
    title="The area, without a curve",
    difficulty=2,
    minutes=25,
    kind=BUILD,
    text="""
    The area under the ROC curve has a meaning that needs no curve: take a nodule and another candidate at
    random; it is the probability that the nodule scores higher, where a tie counts one half. Compute it
    from that. Ties do happen.
    """,
    stub='''
    def area(label, score):
        """label: (N,) bool, score: (N,) floats, both tensors, with some of each. Returns a number from 0 to 1."""
        raise NotImplementedError("your turn")
    ''',
    hints=(
        "Make a table of all pairs: nodules down, others across.",
        "`score[label][:, None]` against `score[~label][None, :]`, compared with `>` and with `==`.",
        "The mean over the table of `(a > b) + 0.5 * (a == b)`.",
    ),
    why="""
    Chance gives 0.5, and so does a constant score, thanks to the half for ties. The share of nodules does
    not enter: of all measures of this chapter, this is the one that stays when the mix changes, and so it
    says nothing about how many alarms are false.
    """,
)


@pairs.check
def check_pairs(answer):
    def holds(label, score):
        label, score = torch.tensor(label).bool(), torch.tensor(score).float()
        a, b = score[label][:, None], score[~label][None]
        want = ((a > b).double() + (a == b).double() / 2).mean()
        with case(label=label, score=score):
            same(answer(label.clone(), score.clone()), want, "the area")

    for label, score in (([1, 0], [1, 0]), ([1, 0], [0, 1]), ([1, 0], [0, 0]), ([0, 1, 0], [0, 1, 2])):
        holds(label, score)
    for count in (3, 4, 5, 20, 300):
        for _ in range(5):
            label = torch.rand(count) < 0.3
            label[0], label[1] = True, False
            holds(label.tolist(), torch.randint(4 if count < 50 else 100, (count,)).tolist())


@pairs.solution
def area(label, score):
    nodules, others = score[label][:, None], score[~label][None, :]
    return ((nodules > others).float() + 0.5 * (nodules == others).float()).mean()


@pairs.right
def with_scikit_learn(label, score):
    from sklearn.metrics import roc_auc_score

    return roc_auc_score(label.numpy(), score.numpy())


@pairs.right
def by_ranks(label, score):
    from scipy.stats import rankdata

    ranks, n = rankdata(score.numpy()), int(label.sum())
    return (ranks[label.numpy()].sum() - n * (n + 1) / 2) / (n * (len(label) - n))


@pairs.right
def by_signs(label, score):
    return float(torch.sign(score[label][:, None] - score[~label]).mean()) / 2 + 0.5


@pairs.wrong
def ties_count_nothing(label, score):
    return (score[label][:, None] > score[~label]).float().mean()


@pairs.wrong
def ties_count_fully(label, score):
    return (score[label][:, None] >= score[~label]).float().mean()


@pairs.wrong
def the_other_way_round(label, score):
    return 1 - area(label, score)


@pairs.wrong
def against_everyone(label, score):
    return (torch.sign(score[label][:, None] - score).mean() / 2 + 0.5).item()


@pairs.wrong
def nodules_above_the_mean_of_others(label, score):
    return (score[label] > score[~label].mean()).float().mean()


@pairs.wrong
def by_ranks_without_ties(label, score):
    ranks, n = score.argsort(stable=True).argsort() + 1.0, int(label.sum())
    return (ranks[label].sum() - n * (n + 1) / 2) / (n * (len(label) - n))


# ---------------------------------------------------------------- 12.6

moved = Exercise(
    "12.6",
    title="Four pixels to the right",
    difficulty=2,
    minutes=25,
    kind=BUILD,
    text="""
    The matrix for `F.affine_grid` (with `align_corners=False`) that moves a picture, `width` pixels wide,
    by `pixels` to the right and leaves it as it is otherwise. What is moved out is gone, and zeros come in.
    """,
    stub='''
    def shift_right(pixels, width):
        """Returns a (2, 3) matrix, as a tensor or as nested lists."""
        raise NotImplementedError("your turn")
    ''',
    hints=(
        "Does the matrix say where each pixel goes, or where each pixel of the result comes from?",
        "It says where it comes from, so a shift to the right has a minus. Its unit is not a pixel: the "
        "whole width goes from -1 to 1.",
        "The width is 2 units long, a pixel 2 / width. `[[1, 0, -2 * pixels / width], [0, 1, 0]]`.",
    ),
    why="""
    Sampling asks, for every pixel of the result, where to look in the source; so every transform is written
    backwards. The same holds for rotations and for the scale: to make something larger, the matrix gets
    smaller.
    """,
)


@moved.check
def check_moved(answer):
    for width in (1, 2, 4, 5, 10):
        for pixels in sorted({0, 1, 2, width - 1, -1}, key=abs):
            picture = torch.randint(1, 10, (3, width)).float()
            want = torch.zeros_like(picture)
            for column in range(width):
                if 0 <= column - pixels < width:
                    want[:, column] = picture[:, column - pixels]
            with case(picture=picture, pixels=pixels, width=width):
                affine = as_tensor(answer(pixels, width)).float()
                expect(
                    affine.shape == (2, 3), f"a (2, 3) matrix is wanted, not one of {tuple(affine.shape)}."
                )
                grid = F.affine_grid(affine[None], [1, 1, 3, width], align_corners=False)
                got = F.grid_sample(picture[None, None], grid, align_corners=False)[0, 0]
                same(got, want, "the moved picture", atol=1e-3)


@moved.solution
def shift_right(pixels, width):
    return [[1, 0, -2 * pixels / width], [0, 1, 0]]


@moved.right
def as_an_inverse(pixels, width):
    forward = torch.eye(3)
    forward[0, 2] = pixels / (width / 2)
    return torch.linalg.inv(forward)[:2]


@moved.right
def in_numpy_from_below(pixels, width):
    matrix = np.eye(2, 3)
    matrix[0, -1] -= pixels * 2.0 / width
    return matrix


@moved.wrong
def to_the_left(pixels, width):
    return [[1, 0, 2 * pixels / width], [0, 1, 0]]


@moved.wrong
def half_as_far(pixels, width):
    return [[1, 0, -pixels / width], [0, 1, 0]]


@moved.wrong
def downwards(pixels, width):
    return [[1, 0, 0], [0, 1, -2 * pixels / width]]


@moved.wrong
def with_aligned_corners(pixels, width):
    return [[1, 0, -2 * pixels / max(width - 1, 1)], [0, 1, 0]]


@moved.wrong
def for_ten_pixels(pixels, width):
    return [[1, 0, -2 * pixels / 10], [0, 1, 0]]


@moved.wrong
def in_pixels(pixels, width):
    return [[1, 0, -pixels], [0, 1, 0]]


# ---------------------------------------------------------------- 12.7

optimism = Exercise(
    "12.7",
    title="The price of choosing",
    difficulty=3,
    minutes=40,
    kind=EXPERIMENT,
    seconds=4,
    text="""
    Someone picks the threshold with the best F1 score on a validation set, and reports that score. How much
    better is it than what the same threshold gets on new candidates? `draw(n)` gives labels and scores of n
    candidates, new ones with each call. Measure the difference: draw a set of n, find the threshold with
    the best F1 there (candidates that score at least as much are called nodules; try every score), score it
    on another set of n with the same threshold, and average over many repetitions. The check allows 25 %,
    which takes a thousand or two.
    """,
    stub='''
    def optimism(draw, n):
        """draw(n): labels (n,) bool, scores (n,), tensors. Returns mean F1 where chosen minus mean F1 on new ones."""
        raise NotImplementedError("your turn")
    ''',
    hints=(
        "Write a function for F1 at one threshold, one for the best threshold, then the repetition.",
        "F1 = 2 · right alarms / (alarms + nodules). Sorted by score, the right alarms at every threshold "
        "are a cumulative sum of labels.",
        "`order = scores.argsort(descending=True); right = labels[order].cumsum(0); f1 = 2 * right / "
        "(torch.arange(1, n + 1) + labels.sum())`; the best place's score is the threshold for the new set.",
    ),
    why="""
    The best of many thresholds is partly good and partly lucky, and luck does not come again. With 40
    candidates it is worth a tenth of F1 and more, with 200 a few hundredths. So: choose on one set, report
    on another; that is why this course keeps three.
    """,
)


def _f1_at_every_score(labels, scores):
    order = scores.argsort(descending=True)
    right = labels[order].cumsum(0)
    return 2 * right / (torch.arange(1, len(labels) + 1) + labels.sum()), scores[order]


def _f1(labels, alarms):
    return 2 * (labels & alarms).sum() / (labels.sum() + alarms.sum()).clamp(min=1)


def _optimism(draw, n, times):
    total = 0.0
    for _ in range(times):
        f1, thresholds = _f1_at_every_score(*draw(n))
        labels, scores = draw(n)
        total += (f1.max() - _f1(labels, scores >= thresholds[f1.argmax()])).item()
    return total / times


def _drawer(share, apart):
    def draw(n):
        labels = torch.rand(n) < share
        labels[0] = True
        return labels, torch.randn(n) + apart * labels

    return draw


@optimism.check
def check_optimism(answer):
    for n, share, apart in ((40, 0.2, 1.0), (40, 0.5, 0.5), (150, 0.1, 1.5)):
        draw = _drawer(share, apart)
        want = _optimism(draw, n, 3000)
        with case(f"{n} candidates, {share:.0%} of them nodules"):
            got = as_tensor(answer(draw, n))
            expect(got.numel() == 1, "one number is wanted.")
            expect(
                abs(float(got) / want - 1) < 0.25,
                f"the chosen score is better by about {want:.3f}; you got {float(got):.3f}.",
            )


@optimism.solution
def measured(draw, n):
    differences = []
    for _ in range(1500):
        labels, scores = draw(n)
        order = scores.argsort(descending=True)
        f1 = 2 * labels[order].cumsum(0) / (torch.arange(1, n + 1) + labels.sum())
        threshold = scores[order][f1.argmax()]
        new_labels, new_scores = draw(n)
        alarms = new_scores >= threshold
        new_f1 = 2 * (alarms & new_labels).sum() / (alarms.sum() + new_labels.sum())
        differences.append(f1.max() - new_f1)
    return torch.stack(differences).mean().item()


@optimism.right
def in_numpy(draw, n):
    chosen, new = [], []
    for _ in range(1500):
        labels, scores = (part.numpy() for part in draw(n))
        alarms = scores[None] >= scores[:, None]
        f1 = 2 * (alarms & labels).sum(1) / (alarms.sum(1) + labels.sum())
        chosen.append(f1.max())
        threshold = scores[f1.argmax()]
        labels, scores = (part.numpy() for part in draw(n))
        new.append(2 * (labels & (scores >= threshold)).sum() / (labels.sum() + (scores >= threshold).sum()))
    return np.mean(chosen) - np.mean(new)


@optimism.right
def new_sets_that_are_larger_in_all(draw, n):
    total = 0.0
    for _ in range(1200):
        f1, thresholds = _f1_at_every_score(*draw(n))
        threshold = thresholds[f1.argmax()]
        new = [_f1(labels, scores >= threshold) for labels, scores in (draw(n), draw(n), draw(n))]
        total += f1.max() - sum(new) / 3
    return total / 1200


@optimism.wrong
def on_the_same_set(draw, n):
    f1, thresholds = _f1_at_every_score(*draw(n))
    return 0.0 * f1.max()


@optimism.wrong
def with_a_threshold_of_its_own_for_the_new_set(draw, n):
    pairs = [
        (_f1_at_every_score(*draw(n))[0].max(), _f1_at_every_score(*draw(n))[0].max()) for _ in range(300)
    ]
    return sum(a - b for a, b in pairs) / 300


@optimism.wrong
def the_chosen_score_itself(draw, n):
    return sum(_f1_at_every_score(*draw(n))[0].max() for _ in range(300)) / 300


@optimism.wrong
def with_the_sign_turned(draw, n):
    return -_optimism(draw, n, 300)


@optimism.wrong
def of_accuracy(draw, n):
    total = 0.0
    for _ in range(300):
        labels, scores = draw(n)
        right = ((scores[None] >= scores[:, None]) == labels).float().mean(1)
        threshold = scores[right.argmax()]
        labels, scores = draw(n)
        total += right.max() - ((scores >= threshold) == labels).float().mean()
    return total / 300


@optimism.wrong
def a_tenth(draw, n):
    return 0.1
