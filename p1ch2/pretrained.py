"""The shipped networks of chapter 2, ready to use; `hubconf.py` offers the same to Torch Hub.

Weights lie in `data/p1ch2` as safetensors in half precision and are turned into float32 when loaded.
"""

import json
from pathlib import Path

from util.errors import UserError
from util.weights import save_weights

WEIGHTS = Path(__file__).resolve().parent.parent / "data" / "p1ch2"


def save(model, name, folder=WEIGHTS, **about):
    """Write a model's weights to `folder/name.safetensors`, with `about` (strings or lists) as metadata."""
    state = {
        key: value.half() if value.is_floating_point() else value for key, value in model.state_dict().items()
    }
    metadata = {key: json.dumps(value) for key, value in about.items()}
    save_weights(Path(folder) / f"{name}.safetensors", state, metadata)


def load_into(model, name, folder=WEIGHTS):
    """Fill `model` with `folder/name.safetensors`; returns it in evaluation mode, with its `about`.

    Metadata becomes the attribute `about`. Raises `UserError` where the file is missing or damaged or
    belongs to another model.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(folder) / f"{name}.safetensors"
    if not path.exists():
        raise UserError(f"{path.name} is missing in data/p1ch2; make it with 'python -m p1ch2.train {name}'")
    try:
        with safe_open(path, "pt") as file:
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            about = {key: json.loads(value) for key, value in (file.metadata() or {}).items()}
        model.load_state_dict(
            {key: value.float() if value.is_floating_point() else value for key, value in state.items()}
        )
    except (SafetensorError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path.name} does not fit {type(model).__name__}: {reason}") from error
    model.about = about
    return model.eval()


def animal_classifier(pretrained=True):
    """`AnimalNet` for thirteen drawn animals. `model.about["classes"]` names its outputs."""
    from p1ch2.classifier import AnimalNet

    model = AnimalNet(classes=13)
    return load_into(model, "classifier") if pretrained else model


def stripe_judge(pretrained=True):
    """An `AnimalNet` with two outputs, plain and striped; used for measuring only."""
    from p1ch2.classifier import AnimalNet

    model = AnimalNet(classes=2, widths=(16, 32, 64))
    return load_into(model, "judge") if pretrained else model


def stripe_generator(pretrained=True, to="striped"):
    """`ResNetGenerator` that paints stripes on drawn animals, or with `to="plain"` takes them off."""
    from p1ch2.gan import ResNetGenerator

    if to not in ("striped", "plain"):
        raise UserError(f"a generator turns animals 'striped' or 'plain', not '{to}'")
    model = ResNetGenerator(ngf=16, n_blocks=3)
    return load_into(model, f"generator_{to}") if pretrained else model


def scene_captioner(pretrained=True):
    """`Captioner` for drawn scenes; `model.describe(pictures)` gives sentences and attention."""
    from p1ch2.captioner import Captioner

    model = Captioner()
    return load_into(model, "captioner") if pretrained else model
