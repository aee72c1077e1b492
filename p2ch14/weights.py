"""The weights that the course ships, and what a weights file says about how its network is to be used."""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import load_file

from p2ch11.checkpoint import load_weights, read_state
from p2ch14.model import LunaModel, MalignancyModel
from util.errors import UserError
from util.paths import PROJECT, shown
from util.weights import save_weights

SHIPPED = PROJECT / "data" / "p2ch14"
SHIPPED_SEGMENTATION = SHIPPED / "segmentation.safetensors"
SHIPPED_CLASSIFIER = SHIPPED / "classification.safetensors"
SHIPPED_MALIGNANCY = SHIPPED / "malignancy.safetensors"
SECOND_CLASSIFIER = "second_classifier.safetensors"  # lies beside the classifier that asks for it


@dataclass(frozen=True)
class Settings:
    """How a network is to be used; chosen on scans that are not reported, and kept with its weights.

    Of a classifier: threshold, the least probability of a nodule; second_classifier, the file beside it with
    a second one, or None. Of a second classifier: share, how much it counts beside the first, which at 1 is not asked;
    extents, how many times its usual millimetres it is shown, 1 among them; viewed_from, the probability from which
    it is shown all of them; mirrored_from, their mean from which it is shown their mirror images, too. Of a U-Net:
    grouping, a way of `p2ch14.grouping`; mask_threshold. Of a malignancy network: resampled, whether it wants crops
    of equal millimetres; size_weights, the three of `size.with_size`, or None.
    """

    threshold: float = 0.5
    second_classifier: str | None = None
    share: float = 0.75
    extents: tuple[float, ...] = (1.0,)
    viewed_from: float = 0.2
    mirrored_from: float = 0.2
    grouping: str = "erode"
    mask_threshold: float = 0.5
    resampled: bool = False
    size_weights: tuple[float, float, float] | None = None


# How a mask of the course's own U-Net becomes candidates; chosen on training scans.
OWN_GROUPING = Settings(grouping="split", mask_threshold=0.9)
# How the shipped second classifier is asked. Chosen with the check of real nodules in view: data/p2ch14/LOG.md.
OWN_SECOND = {"share": 1.0, "extents": (1.0, 1.2, 1.4), "viewed_from": 0.4, "mirrored_from": 0.5}


def settings_of(path) -> Settings:
    """The settings that a weights file brings along.

    Our own files (safetensors) have them as metadata. A `.state` file, as the book publishes, gets the book's
    way: one erosion of the mask above 0.5. Of a file that is missing or damaged, the defaults: loading its
    weights says what is wrong.
    """
    path = Path(path)
    if not path.is_file():
        return Settings()
    try:
        said = _metadata(path) if path.suffix == ".safetensors" else {"model_name": model_name_of(path)}
    except Exception:
        return Settings()
    known = {name: _value(name, said[name], path) for name in asdict(Settings()) if name in said}
    usual = OWN_GROUPING if path.suffix == ".safetensors" else Settings()
    return replace(usual, **{"resampled": said.get("model_name") == MalignancyModel.__name__, **known})


def _value(name, text, path):
    if name in ("second_classifier", "grouping"):
        return text
    try:
        value = json.loads(text)
    except ValueError as error:
        raise UserError(
            f"{shown(path)} says '{text}' for {name}, which is no value; write the weights anew"
        ) from error
    return tuple(value) if isinstance(value, list) else value


def _metadata(path) -> dict[str, str]:
    with safe_open(path, framework="pt") as file:
        return file.metadata() or {}


def model_name_of(path) -> str | None:
    """The name of the class whose weights a file holds; None where it does not say, or cannot be read."""
    path = Path(path)
    try:
        return (_metadata(path) if path.suffix == ".safetensors" else read_state(path)).get("model_name")
    except Exception:
        return None


def save_with_settings(path, model, **settings):
    """Write a model's weights as safetensors, with those of its `Settings` that are not the default."""
    Settings(**settings)  # names are checked here, not when somebody reads the file
    save_weights(path, model.state_dict(), {"model_name": type(model).__name__, **_as_text(settings)})


def change_settings(path, **settings):
    """Change the settings in a safetensors file; raises `UserError` for any other file."""
    Settings(**settings)
    if Path(path).suffix != ".safetensors":
        raise UserError(f"{shown(path)} cannot hold settings; save the network as .safetensors")
    save_weights(path, load_file(path), _metadata(path) | _as_text(settings))


def _as_text(settings):
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in settings.items()}


def load_malignancy(path):
    """The network in a weights file, and whether it wants resampled crops, as this course's does.

    The book's published one is a `LunaModel` and wants the scan's own voxels. Raises `UserError` for a
    file that is missing, damaged, or of another model.
    """
    return load_weights(LunaModel(), path), settings_of(path).resampled
