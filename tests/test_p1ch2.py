"""Chapter 2: photographs of every kind, drawings, and networks that keep what the text promises."""

import numpy as np
import pytest
from PIL import Image

from p1ch2.images import load_image
from util.files import UserError


@pytest.fixture
def photo():
    """An 8-bit RGB picture, 6 high and 8 wide, whose left half is red and right half blue."""
    pixels = np.zeros((6, 8, 3), np.uint8)
    pixels[:, :4] = (200, 20, 20)
    pixels[:, 4:] = (20, 20, 200)
    return Image.fromarray(pixels)


@pytest.mark.parametrize("mode", ["RGB", "P", "CMYK", "RGBA"])
def test_every_colour_mode_comes_out_as_the_same_rgb(photo, mode, tmp_path):
    path = tmp_path / ("photo.tif" if mode == "CMYK" else "photo.png")
    (photo.quantize(8) if mode == "P" else photo.convert(mode)).save(path)
    image = load_image(path)
    assert image.mode == "RGB"
    assert np.abs(np.asarray(image).astype(int) - np.asarray(photo)).max() <= 3


def test_sixteen_bits_are_scaled_and_not_clipped(tmp_path):
    Image.fromarray(np.array([[0, 32768, 65535]], np.uint16)).save(tmp_path / "deep.png")
    assert np.asarray(load_image(tmp_path / "deep.png"))[0, :, 0].tolist() == [0, 128, 255]


def test_a_sideways_photo_is_turned_upright(photo, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn a quarter clockwise to see it upright"
    photo.save(tmp_path / "sideways.png", exif=exif)
    turned = np.asarray(load_image(tmp_path / "sideways.png"))
    assert turned.shape == (8, 6, 3)
    assert (turned[0, 0, 0], turned[-1, 0, 2]) == (200, 200)  # the left edge is now the top


def test_transparent_places_become_white(tmp_path):
    Image.new("RGBA", (2, 2), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    assert np.asarray(load_image(tmp_path / "clear.png")).min() == 255


def test_bad_files_are_named_in_one_sentence(photo, tmp_path):
    (tmp_path / "notes.jpg").write_text("not a picture at all")
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "whole.png")
    whole = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    Image.fromarray(noise).save(tmp_path / "whole.jpg")
    whole = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.png").touch()
    for name, word in [
        ("notes.jpg", "not a picture"),
        ("cut.png", "cut off"),
        ("cut.jpg", "cut off"),
        ("empty.png", "not a picture"),
        ("missing.jpg", "no picture"),
        ("", "folder"),
    ]:
        with pytest.raises(UserError, match=word) as caught:
            load_image(tmp_path / name)
        assert "\n" not in str(caught.value)
