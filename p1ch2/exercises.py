"""Chapter 2's exercises: each with its text, stub, hints, check, solution and wrong answers."""

import functools

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from skimage import data
from torch import nn
from torchvision import models
from torchvision.transforms import v2

from p1ch2.drawing import CLASSES
from p1ch2.efficientnet import efficientnet_lite0
from p1ch2.gan import ResNetGenerator
from p1ch2.measure import draw_any, stack
from util.exercises import (
    BUG,
    BUILD,
    EXPERIMENT,
    OPEN,
    PREDICT,
    Exercise,
    case,
    expect,
    predicted,
    same,
)

MEAN = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
LABELS = models.ResNet101_Weights.IMAGENET1K_V2.meta["categories"]
CATS = [LABELS.index(name) for name in ("tabby", "tiger cat", "Egyptian cat")]


@functools.cache
def network():
    with torch.inference_mode(False):  # whoever asks first may be measuring; the next may want gradients
        return efficientnet_lite0()


def prepared(image):
    """The chapter's `preprocess` as a batch of one: a PIL image -> (1, 3, 224, 224)."""
    return v2.Compose(
        [
            v2.Resize(256),
            v2.CenterCrop(224),
            v2.PILToTensor(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(MEAN.flatten().tolist(), STD.flatten().tolist()),
        ]
    )(image)[None]


# ---------------------------------------------------------------- 2.1

still_a_cat = Exercise(
    "2.1",
    title="Is it still a cat?",
    difficulty=1,
    minutes=10,
    kind=PREDICT,
    text="""
    Chelsea's photograph is changed and then prepared as in the chapter. Is the first answer of
    `efficientnet` still one of the three cats ("tabby", "tiger cat", "Egyptian cat")? Write `True` or
    `False` for each *before* you try any of them. You know from section 2.1 what it makes of shuffled
    tiles.
    """,
    stub="""
    still_a_cat = {
        "turned upside down": ...,
        "red and blue swapped": ...,
        "made negative": ...,
        "darkened to a quarter": ...,
        "shrunk to 48 × 32 pixels, and enlarged again": ...,
        "shrunk to 24 × 16 pixels, and enlarged again": ...,
        "blurred until the fur is gone (radius 12)": ...,
        "three quarters of it covered: only the upper left shows": ...,
    }
    """,
    hints=(
        "What does the network use, if the place of the tiles does not matter?",
        "Fur, stripes and eyes survive a turn, other colours and half the light. What do they not survive?",
        "Only what takes the texture away takes the cat away; and a quarter of the picture holds an eye.",
    ),
    why="""
    This network sees texture and small parts more than form, as many ImageNet networks do. A negative cat
    is a cat to it, a blurred one, in which you see the cat at once, is not. Whoever wants a network to look
    at form has to train it on pictures in which texture does not help.
    """,
)


def changed_cats():
    """The changes of exercise 2.1, by name, as prepared batches."""
    from PIL import ImageFilter

    cat = Image.fromarray(data.chelsea())
    pixels = np.asarray(cat)
    corner = prepared(cat).clone()
    corner[:, :, 112:], corner[:, :, :, 112:] = 0, 0
    changed = [
        cat.rotate(180),
        Image.fromarray(pixels[:, :, ::-1].copy()),
        ImageOps.invert(cat),
        Image.fromarray(pixels // 4),
        cat.resize((48, 32)).resize(cat.size),
        cat.resize((24, 16)).resize(cat.size),
        cat.filter(ImageFilter.GaussianBlur(12)),
    ]
    return dict(zip(still_a_cat.stub_keys, [*map(prepared, changed), corner], strict=True))


@functools.cache
def truth_about_cats():
    with torch.inference_mode():
        answers = network()(torch.cat(list(changed_cats().values()))).argmax(1)
    return dict(zip(still_a_cat.stub_keys, [int(a) in CATS for a in answers], strict=True))


@still_a_cat.check
def check_still_a_cat(prediction):
    predicted(prediction, truth_about_cats())


still_a_cat.solution("""
still_a_cat = {
    "turned upside down": True,
    "red and blue swapped": True,
    "made negative": True,
    "darkened to a quarter": True,
    "shrunk to 48 × 32 pixels, and enlarged again": True,
    "shrunk to 24 × 16 pixels, and enlarged again": False,
    "blurred until the fur is gone (radius 12)": False,
    "three quarters of it covered: only the upper left shows": True,
}
""")
_CAT = dict(zip(still_a_cat.stub_keys, (1, 1, 1, 1, 1, 0, 0, 1), strict=True))
still_a_cat.right(_CAT)
still_a_cat.right({key: torch.tensor(bool(value)) for key, value in reversed(_CAT.items())})
still_a_cat.wrong(dict.fromkeys(_CAT, True))
still_a_cat.wrong(dict.fromkeys(_CAT, False))
still_a_cat.wrong({**_CAT, "made negative": False})
still_a_cat.wrong({**_CAT, "blurred until the fur is gone (radius 12)": True})
still_a_cat.wrong(list(_CAT.values()))

# ---------------------------------------------------------------- 2.2

prepare_photo = Exercise(
    "2.2",
    title="A preparation that never complains",
    difficulty=1,
    minutes=15,
    kind=BUG,
    text="""
    A colleague's networks answer oddly, though nothing ever fails. Their function should do what
    `preprocess` does to a PIL image, and add the batch axis. It has two faults. Find and mend them.
    """,
    stub='''
    import torch
    from torchvision.transforms.v2 import functional as V

    MEAN = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    STD = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)


    def prepare_photo(image):
        """A PIL image in RGB, of any size -> the batch (1, 3, 224, 224) that ImageNet's networks expect."""
        pixels = V.pil_to_tensor(image)  # (3, H, W), 0 to 255
        pixels = V.resize(pixels, [256, 256])
        pixels = V.center_crop(pixels, [224, 224]).float()
        return ((pixels - MEAN) / STD / 255).unsqueeze(0)
    ''',
    hints=(
        "Compare its result with `preprocess(img)` for a wide picture: first how it looks, then the numbers.",
        "What happens to a circle in a wide picture? And what are MEAN and STD the mean and spread of?",
        "`resize` with one number scales the *shorter* side. Divide by 255 first, then subtract and divide.",
    ),
    why="""
    Squashed pictures and numbers in the wrong range raise no error; they only cost accuracy. So a
    preparation is tested against a known good one, number by number, and best taken from the same place as
    the weights.
    """,
)


@prepare_photo.check
def check_prepare_photo(answer):
    for height, width in ((224, 224), (256, 256), (300, 300), (260, 400), (400, 260), (100, 300)):
        coarse = (torch.rand(3, 5, 5) * 255).byte()
        image = v2.functional.to_pil_image(v2.functional.resize(coarse, [height, width]))
        with case(f"an RGB image {width} wide and {height} high"):
            got = answer(image)
            same(got, prepared(image), "the batch", atol=0.06)


@prepare_photo.solution
def prepare_photo_solution(image):
    pixels = v2.functional.pil_to_tensor(image)
    pixels = v2.functional.resize(pixels, [256])
    pixels = v2.functional.center_crop(pixels, [224, 224]).float() / 255
    return ((pixels - MEAN) / STD).unsqueeze(0)


@prepare_photo.right
def _(image):
    scale = 256 / min(image.size)
    image = image.resize([round(side * scale) for side in image.size], Image.Resampling.BILINEAR)
    left, top = round((image.width - 224) / 2), round((image.height - 224) / 2)
    pixels = np.asarray(image.crop((left, top, left + 224, top + 224)))
    return (torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None] - 255 * MEAN) / (255 * STD)


@prepare_photo.right
def _(image):
    return prepared(image).numpy().astype(np.float64)


@prepare_photo.wrong
def only_the_squash_is_mended(image):
    pixels = v2.functional.resize(v2.functional.pil_to_tensor(image), [256])
    pixels = v2.functional.center_crop(pixels, [224, 224]).float()
    return ((pixels - MEAN) / STD / 255).unsqueeze(0)


@prepare_photo.wrong
def only_the_range_is_mended(image):
    pixels = v2.functional.resize(v2.functional.pil_to_tensor(image), [256, 256])
    pixels = v2.functional.center_crop(pixels, [224, 224]).float() / 255
    return ((pixels - MEAN) / STD).unsqueeze(0)


@prepare_photo.wrong
def forgets_to_resize(image):
    pixels = v2.functional.center_crop(v2.functional.pil_to_tensor(image), [224, 224]).float() / 255
    return ((pixels - MEAN) / STD).unsqueeze(0)


@prepare_photo.wrong
def forgets_the_batch(image):
    return prepared(image)[0]


@prepare_photo.right
def with_the_transforms_of_another_network(image):
    return models.ResNet50_Weights.IMAGENET1K_V1.transforms()(image)[None]


@prepare_photo.wrong
def with_transforms_that_resize_to_232(image):
    return models.ResNet50_Weights.IMAGENET1K_V2.transforms()(image)[None]


@prepare_photo.wrong
def blue_first(image):
    return prepared(image).flip(1)


@prepare_photo.wrong
def upper_left_instead_of_the_middle(image):
    pixels = v2.functional.resize(v2.functional.pil_to_tensor(image), [256])[:, :224, :224].float() / 255
    return ((pixels - MEAN) / STD)[None]


@prepare_photo.wrong
def knows_only_chelsea(image):
    return prepared(Image.fromarray(data.chelsea()))


# ---------------------------------------------------------------- 2.3

unwrap = Exercise(
    "2.3",
    title="Weights that do not fit",
    difficulty=1,
    minutes=10,
    kind=BUILD,
    text="""
    A colleague trained on several GPUs, and every name in the checkpoint now starts with `module.`. Return
    a new dictionary whose names fit the plain model. Only a leading `module.` goes: a layer that is itself
    called `module`, or `submodule`, keeps its name, and so does a name without the prefix. The checkpoint
    that you were given stays as it is.
    """,
    stub='''
    def unwrap(state):
        """state: a dictionary of names and tensors. Returns a new one whose names fit the plain model."""
        raise NotImplementedError("your turn")
    ''',
    hints=(
        "A dictionary comprehension over `state.items()` makes a new dictionary.",
        "`replace` takes the word away wherever it stands. Which method looks at the beginning only?",
        '`name.removeprefix("module.")` takes it away once, at the start, if it is there.',
    ),
    why="""
    A state dict is a dictionary, and its names can be mended like any strings. `load_state_dict` with its
    strict default is what tells you that they do not fit; `strict=False` would have loaded nothing without
    a word.
    """,
)


@unwrap.check
def check_unwrap(answer):
    wanted = {
        "module.bias": "bias",
        "bias": "bias",
        "module.module.bias": "module.bias",
        "module.head.module.bias": "head.module.bias",
        "submodule.bias": "submodule.bias",
        "modules.bias": "modules.bias",
    }
    for name, want in wanted.items():
        with case(f"the name '{name}'"):
            got = answer({name: torch.ones(1)})
            expect(isinstance(got, dict), "Return a dictionary of names and tensors.")
            expect(list(got) == [want], f"it should become '{want}'; you got {list(got)}.")
    wrapped = nn.DataParallel(nn.Sequential(ResNetGenerator(ngf=2, n_blocks=1)))
    state = wrapped.state_dict()
    before = list(state)
    with case("a wrapped generator"):
        got = answer(state)
        expect(list(state) == before, "the checkpoint you were given has changed; make a new dictionary.")
        model = wrapped.module.state_dict()
        expect(set(got) == set(model), "the names do not fit the plain model.")
        expect(all(torch.equal(got[k], v) for k, v in model.items()), "names fit, values do not.")


@unwrap.solution
def unwrap_solution(state):
    return {name.removeprefix("module."): value for name, value in state.items()}


@unwrap.right
def _(state):
    return {name[7:] if name.startswith("module.") else name: value for name, value in state.items()}


@unwrap.right
def _(state):
    import re

    renamed = type(state)()
    for name in state:
        renamed[re.sub(r"^module\.", "", name)] = state[name].clone()
    return renamed


@unwrap.right
def with_pytorchs_own_on_a_copy(state):
    state = dict(state)
    nn.modules.utils.consume_prefix_in_state_dict_if_present(state, "module.")
    return state


@unwrap.wrong
def cuts_at_the_first_module_wherever_it_is(state):
    return {name.partition("module.")[2] or name: value for name, value in state.items()}


@unwrap.wrong
def replaces_everywhere(state):
    return {name.replace("module.", ""): value for name, value in state.items()}


@unwrap.wrong
def always_cuts_seven(state):
    return {name[7:]: value for name, value in state.items()}


@unwrap.wrong
def strips_letters(state):
    return {name.lstrip("module."): value for name, value in state.items()}


@unwrap.wrong
def strips_again_and_again(state):
    def bare(name):
        return bare(name[7:]) if name.startswith("module.") else name

    return {bare(name): value for name, value in state.items()}


@unwrap.wrong
def writes_into_what_it_got(state):
    for name in list(state):
        state[name.removeprefix("module.")] = state.pop(name)
    return state


# ---------------------------------------------------------------- 2.4

two_looks = Exercise(
    "2.4",
    title="Look twice",
    difficulty=2,
    minutes=15,
    kind=BUILD,
    text="""
    A cheap way to better answers: ask about the picture and about its mirror image, and take the mean of
    the two *probabilities*. Do that for a batch. The network comes as it is, perhaps still in training
    mode; leave it in the mode in which you found it.
    """,
    stub='''
    def two_looks(network, batch):
        """network: (N, 3, H, W) -> scores (N, classes). Returns mean probabilities (N, classes), without gradients."""
        raise NotImplementedError("your turn")
    ''',
    hints=(
        "Which axis of (N, 3, H, W) runs from left to right?",
        "Softmax first, mean then: the mean of two scores is something else.",
        "Keep `network.training`, call `eval()`, compute under `torch.no_grad()`, and call `train(kept)` at the end.",
    ),
    why="""
    It is called test-time augmentation, and chapter 15 uses it. Probabilities are averaged because scores
    of different pictures have no common scale.
    """,
)


class _Scores(nn.Module):
    """Scores from the mean colours of the four quarters, with a dropout that matters."""

    def __init__(self, classes):
        super().__init__()
        self.last = nn.Linear(12, classes)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x):
        return 4 * self.last(self.dropout(F.adaptive_avg_pool2d(x, 2).flatten(1)))


@two_looks.check
def check_two_looks(answer):
    for n, size, training in ((1, 2, False), (1, 4, False), (2, 4, True), (3, 6, True)):
        model = _Scores(3).train(training)
        batch = torch.randn(n, 3, size, size) * 2
        before = batch.clone()
        with case(f"a batch {tuple(batch.shape)} and a network in {'training' if training else 'eval'} mode"):
            got = answer(model, batch)
            expect(torch.equal(batch, before), "your function changed the batch that it was given.")
            expect(model.training == training, "the network has to be left in the mode in which it came.")
            expect(not getattr(got, "requires_grad", False), "the result should carry no gradients.")
            with torch.no_grad():
                model.eval()
                want = (model(batch).softmax(1) + model(batch.flip(3)).softmax(1)) / 2
            same(got, want, "the probabilities")


@two_looks.solution
def two_looks_solution(network, batch):
    training = network.training
    network.eval()
    with torch.no_grad():
        looks = [network(view).softmax(1) for view in (batch, batch.flip(3))]
    network.train(training)
    return sum(looks) / 2


@two_looks.right
@torch.inference_mode()
def _(network, batch):
    training = network.training
    network.train(False)
    scores = network(torch.cat([batch, torch.flip(batch, (-1,))]))
    network.train(training)
    return torch.exp(scores.log_softmax(-1)).view(2, len(batch), -1).mean(0)


@two_looks.right
def _(network, batch):
    mode = network.training
    try:
        with torch.no_grad():
            network.eval()
            mirrored = batch[:, :, :, torch.arange(batch.shape[3] - 1, -1, -1)]
            p, q = F.softmax(network(batch), 1), F.softmax(network(mirrored), 1)
            return (p + q).div(2).double().numpy()
    finally:
        network.train(mode)


def _looks(network, batch, other, join):
    training = network.training
    network.eval()
    with torch.no_grad():
        result = join(network(batch), network(other))
    network.train(training)
    return result


@two_looks.wrong
def averages_the_scores(network, batch):
    return _looks(network, batch, batch.flip(3), lambda a, b: ((a + b) / 2).softmax(1))


@two_looks.wrong
def mirrors_the_colours(network, batch):
    return _looks(network, batch, torch.fliplr(batch), lambda a, b: (a.softmax(1) + b.softmax(1)) / 2)


@two_looks.wrong
def averages_the_logarithms(network, batch):
    return _looks(
        network, batch, batch.flip(3), lambda a, b: ((a.log_softmax(1) + b.log_softmax(1)) / 2).exp()
    )


@two_looks.wrong
def turns_it_upside_down(network, batch):
    return _looks(network, batch, batch.flip(2).flip(3), lambda a, b: (a.softmax(1) + b.softmax(1)) / 2)


@two_looks.wrong
def looks_once(network, batch):
    return _looks(network, batch, batch, lambda a, b: a.softmax(1))


@two_looks.wrong
def forgets_eval(network, batch):
    with torch.no_grad():
        return (network(batch).softmax(1) + network(batch.flip(3)).softmax(1)) / 2


@two_looks.wrong
def leaves_it_in_eval(network, batch):
    network.eval()
    with torch.no_grad():
        return (network(batch).softmax(1) + network(batch.flip(3)).softmax(1)) / 2


@two_looks.wrong
def adds_up_to_two(network, batch):
    return _looks(network, batch, batch.flip(3), lambda a, b: a.softmax(1) + b.softmax(1))


# ---------------------------------------------------------------- 2.5

new_names = Exercise(
    "2.5",
    title="New names for what it sees",
    difficulty=2,
    minutes=30,
    kind=EXPERIMENT,
    seconds=4,
    text="""
    Nobody trains a network from scratch for thirteen animals. One takes a network that has seen a million
    photographs, keeps all of it but the last layer, and trains a new last layer: *transfer learning*.
    `efficientnet.features(batch)` gives what the last layer gets to see, 1,280 numbers per picture. Hand
    over an `nn.Linear(1280, 13)` that names drawings. It is tried on 130 fresh ones, scaled to 96 × 96
    pixels and normalized as photographs are, and has to be right on 80 % of them.

    `as_photographs` prepares drawings like that. 520 of them suffice (`stack(drawings)` of the chapter,
    with `drawn_names`), and half a minute.
    """,
    stub='''
    import torch.nn.functional as F


    def as_photographs(drawings):
        """uint8 drawings (N, 64, 64, 3) -> prepared pictures (N, 3, 96, 96)."""
        pictures = F.interpolate(drawings.movedim(3, 1) / 255, size=96, mode="bilinear")
        mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]]).view(2, 3, 1, 1)
        return (pictures - mean) / std


    new_layer = None  # your nn.Linear(1280, 13), trained
    ''',
    hints=(
        "Compute all features once, without gradients and in portions of 100; after that, training takes seconds.",
        "`learn` of chapter 1 shows the loop. Here the network is the new layer, its inputs are the features.",
        "Adam with a rate of 0.003 and 300 steps on all features at once, `F.cross_entropy` for the loss.",
    ),
    why="""
    A layer of 16,653 numbers on top of features that never saw a drawing gets most names right after 520
    examples. Chapter 14 does the same with lungs: a network that tells nodules from other spots learns to
    tell malignant from benign ones.
    """,
)


def _as_photographs(drawings):
    pictures = F.interpolate(drawings.movedim(3, 1) / 255, size=96, mode="bilinear")
    return (pictures - MEAN) / STD


@torch.no_grad()
def _features(drawings):
    parts = [network().features(part) for part in _as_photographs(stack(drawings)).split(65)]
    return torch.cat(parts)


def _names(drawings):
    return torch.tensor([CLASSES.index(drawing.label) for drawing in drawings])


@functools.cache
def _fresh(seed):
    drawings = [draw_any(seed, i) for i in range(130)]
    return _features(drawings), _names(drawings)


@new_names.check
def check_new_names(answer):
    expect(callable(answer), "hand over a layer that can be called with features (N, 1280).")
    features, names = _fresh(900 + int(torch.randint(3, ())))
    with torch.no_grad():
        scores = answer(features)
    expect(tuple(scores.shape) == (130, 13), f"130 × 13 scores are wanted, not {tuple(scores.shape)}.")
    right = (torch.as_tensor(scores).argmax(1) == names).float().mean().item()
    expect(right >= 0.8, f"it names {right:.0%} of 130 fresh drawings; 80 % are wanted.")


new_names.solution("""
import torch
import torch.nn.functional as F

from p1ch2.drawing import CLASSES
from p1ch2.efficientnet import efficientnet_lite0
from p1ch2.measure import draw_any, stack


def as_photographs(drawings):
    pictures = F.interpolate(drawings.movedim(3, 1) / 255, size=96, mode="bilinear")
    mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]]).view(2, 3, 1, 1)
    return (pictures - mean) / std


efficientnet = efficientnet_lite0()
drawings = [draw_any(seed=7, number=i) for i in range(520)]
names = torch.tensor([CLASSES.index(drawing.label) for drawing in drawings])
with torch.no_grad():
    features = torch.cat([efficientnet.features(part) for part in as_photographs(stack(drawings)).split(100)])
new_layer = torch.nn.Linear(1280, 13)
optimizer = torch.optim.Adam(new_layer.parameters(), lr=0.003)
for _ in range(300):
    loss = F.cross_entropy(new_layer(features), names)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
""")


@functools.cache
def _practice():
    drawings = [draw_any(7, i) for i in range(520)]
    return _features(drawings), _names(drawings)


@functools.cache
@torch.enable_grad()
def _fitted():
    features, names = _practice()
    layer = nn.Linear(1280, 13)
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.01)
    for _ in range(200):
        optimizer.zero_grad()
        F.cross_entropy(layer(features), names).backward()
        optimizer.step()
    return layer


@new_names.right
def ridge_regression(features):
    known, names = _practice()
    bias = torch.ones(len(known), 1)
    inputs = torch.cat([known, bias], 1).double()
    weights = torch.linalg.solve(
        inputs.T @ inputs + 5 * torch.eye(1281).double(), inputs.T @ F.one_hot(names, 13).double()
    )
    return torch.cat([features, torch.ones(len(features), 1)], 1).double() @ weights


@new_names.right
def adamw(features):
    return _fitted()(features)


new_names.wrong(nn.Linear(1280, 13))
new_names.wrong(nn.Linear(1280, 10))


@new_names.wrong
def names_in_the_order_of_the_alphabet_backwards(features):
    return _fitted()(features).flip(1)


@new_names.wrong
def always_the_same(features):
    return F.one_hot(torch.zeros(len(features), dtype=torch.int64), 13).float()


@new_names.wrong
def knows_the_order_in_which_they_are_drawn_off_by_one(features):
    return F.one_hot((torch.arange(len(features)) + 1) % 13, 13).float()


# ---------------------------------------------------------------- 2.6

fool = Exercise(
    "2.6",
    title="A cat that is an espresso",
    difficulty=3,
    minutes=45,
    kind=BUILD,
    seconds=7,
    text="""
    Networks learn by asking in which direction each *weight* should change to lower a loss. Ask instead in
    which direction each *pixel* should change to raise the belief in a name of your choice, go there in
    small steps, and never change a number of the prepared picture by more than `limit`. 0.1 is about six of
    255 grey levels, which nobody sees. Make the name `target` the first answer for Chelsea, and for any
    other picture.
    """,
    stub='''
    def fool(network, batch, target, limit=0.1):
        """batch: prepared (1, 3, 224, 224); target: a class number. Returns a batch at most `limit` off."""
        raise NotImplementedError("your turn")
    ''',
    hints=(
        "`picture = batch.clone().requires_grad_()`, a forward pass, and `torch.autograd.grad` of the "
        "target's log-probability.",
        "Use the *sign* of the gradient: each pixel goes a quarter of the limit up or down.",
        "After each step, `torch.clamp(picture, batch - limit, batch + limit)`, and `detach()`. One or two "
        "dozen steps are enough.",
    ),
    why="""
    It is called an adversarial example (Szegedy and colleagues 2013; the sign is Goodfellow's, 2014). The
    picture that you see and the picture that the network sees differ in ways that training never covered.
    No remedy is complete to this day.
    """,
)


@fool.check
def check_fool(answer):
    model = network()
    photos = {"the cat": data.chelsea(), "the rocket": data.rocket()}
    for (name, photo), goal in zip(photos.items(), ("espresso", "golf ball"), strict=True):
        batch = prepared(Image.fromarray(photo))
        target = LABELS.index(goal)
        with case(f"{name} and '{goal}'"):
            got = torch.as_tensor(answer(model, batch.clone(), target, 0.1)).detach()
            expect(got.shape == batch.shape, f"the shape should be (1, 3, 224, 224), not {tuple(got.shape)}.")
            off = (got - batch).abs().max().item()
            expect(off <= 0.1 + 1e-4, f"a number has changed by {off:.3f}; 0.1 is the limit.")
            with torch.inference_mode():
                first = int(model(got.float()).argmax(1))
            expect(first == target, f"the first answer is '{LABELS[first]}'.")


@fool.solution
def fool_solution(network, batch, target, limit=0.1):
    picture = batch.clone()
    for _ in range(12):
        picture.requires_grad_()
        belief = network(picture).log_softmax(1)[0, target]
        (direction,) = torch.autograd.grad(belief, picture)
        picture = torch.clamp(picture + limit / 4 * direction.sign(), batch - limit, batch + limit).detach()
    return picture


@fool.right
def _(network, batch, target, limit=0.1):
    change = torch.zeros_like(batch, requires_grad=True)
    optimizer = torch.optim.Adam([change], lr=limit / 4)
    for _ in range(14):
        optimizer.zero_grad()
        F.cross_entropy(network(batch + change), torch.tensor([target])).backward()
        optimizer.step()
        with torch.no_grad():
            change.clamp_(-limit, limit)
    return batch + change


@fool.right
def _(network, batch, target, limit=0.1):
    # Stops as soon as it has succeeded.
    picture, best = batch.clone(), None
    for _ in range(25):
        picture.requires_grad_()
        scores = network(picture)
        if scores.argmax() == target and best is not None:
            break
        best = picture.detach()
        (direction,) = torch.autograd.grad(scores[0, target] - scores[0].logsumexp(0), picture)
        picture = (best + 0.03 * direction.sign()).sub(batch).clamp(-limit, limit).add(batch).detach()
    return picture


@fool.wrong
def does_nothing(network, batch, target, limit=0.1):
    return batch


@fool.wrong
def adds_noise(network, batch, target, limit=0.1):
    return batch + limit * torch.randn_like(batch).sign()


@fool.wrong
def one_large_step(network, batch, target, limit=0.1):
    picture = batch.clone().requires_grad_()
    (direction,) = torch.autograd.grad(network(picture).log_softmax(1)[0, target], picture)
    return batch + 20 * limit * direction.sign()


@fool.wrong
def goes_downhill(network, batch, target, limit=0.1):
    picture = batch.clone()
    for _ in range(6):
        picture.requires_grad_()
        (direction,) = torch.autograd.grad(network(picture).log_softmax(1)[0, target], picture)
        picture = (picture - limit / 4 * direction.sign()).clamp(batch - limit, batch + limit).detach()
    return picture


@fool.wrong
def always_makes_an_espresso(network, batch, target, limit=0.1):
    return fool_solution(network, batch, LABELS.index("espresso"), limit)


@fool.wrong
def leaves_the_cat_for_any_other_name(network, batch, target, limit=0.1):
    picture, cat = batch.clone(), network(batch).argmax(1)
    for _ in range(6):
        picture.requires_grad_()
        (direction,) = torch.autograd.grad(F.cross_entropy(network(picture), cat), picture)
        picture = (picture + limit / 4 * direction.sign()).clamp(batch - limit, batch + limit).detach()
    return picture


@fool.wrong
def brings_its_own_espresso(network, batch, target, limit=0.1):
    return prepared(Image.fromarray(data.coffee()))


# ---------------------------------------------------------------- 2.7

Exercise(
    "2.7",
    title="A fourteenth animal",
    difficulty=2,
    minutes=60,
    kind=OPEN,
    text="""
    Teach the pen another animal in `p1ch2/drawing.py`, train for two minutes with `python -m p1ch2.train
    classifier --out output/mine`, and see which of the others it is mistaken for. Or find the smallest
    change to a drawn *horse*, painted with NumPy, that makes the classifier say zebra. Or put three photos
    of your own into the cells of section 2.1, and write down before each what the network will say.
    """,
)
