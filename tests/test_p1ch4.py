"""Chapter 4: loaders that take odd files or say what is wrong, stand-ins like the real files, the embedding."""

import datetime
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from p1ch4 import bikes, photos, text, wine
from p1ch4.bikes import fill_missing_hours, load_hours
from p1ch4.embedding import draw_plane, flatten_to_plane, nearest
from p1ch4.images import images_in, load_batch, load_image
from p1ch4.photographs import write_trouble
from p1ch4.tables import Table, load_table
from p1ch4.text import load_text, sentences_of, without_frame, words_of
from p1ch4.volumes import list_series, load_dicom_series
from util.errors import UserError
from util.paths import PROJECT


def one_sentence(error) -> str:
    """The error's text, checked to be a single line a reader can act on."""
    said = str(error.value)
    assert "\n" not in said
    assert "Traceback" not in said
    return said


# --- images ----------------------------------------------------------------------------------------


@pytest.fixture
def picture(tmp_path):
    """A small picture in colour, (40, 60, 3), none of whose quarters is like another."""
    y, x = np.mgrid[0:40, 0:60]
    return np.stack([4 * x, 6 * y, 255 - 2 * (x + y)], axis=-1).astype(np.uint8)


def test_png_round_trip_is_exact(tmp_path, picture):
    Image.fromarray(picture).save(tmp_path / "a.png")
    loaded = load_image(tmp_path / "a.png")
    assert loaded.dtype == torch.uint8
    assert torch.equal(loaded, torch.from_numpy(picture).permute(2, 0, 1))
    assert loaded.is_contiguous()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns_photos_upright(tmp_path, picture, orientation):
    # What a camera does: it stores the scene so that `orientation` brings it back.
    undo = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    scene = Image.fromarray(picture)
    exif = Image.Exif()
    exif[0x0112] = orientation
    (scene if undo is None else scene.transpose(undo)).save(tmp_path / "photo.png", exif=exif)
    assert torch.equal(load_image(tmp_path / "photo.png"), torch.from_numpy(picture).permute(2, 0, 1))


@pytest.mark.parametrize("mode", ["L", "P", "1", "LA", "RGBA", "CMYK", "I;16", "PA"])
def test_every_mode_becomes_rgb(tmp_path, picture, mode):
    scene = Image.fromarray(picture)
    if mode == "I;16":
        scene = Image.fromarray(np.asarray(scene.convert("L"), np.uint16) * 257)
    elif mode == "PA":
        scene = scene.quantize(16)
        scene.info["transparency"] = 0
    else:
        scene = scene.convert(mode)
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    scene.save(path)
    loaded = load_image(path)
    assert loaded.shape == (3, 40, 60)
    assert loaded.dtype == torch.uint8
    if mode in {"L", "I;16"}:
        grey = torch.from_numpy(np.array(Image.fromarray(picture).convert("L")))
        assert torch.equal(loaded, grey.expand(3, -1, -1))
    if mode == "CMYK":
        assert (loaded.int() - torch.from_numpy(picture).permute(2, 0, 1).int()).abs().max() <= 4


def test_transparent_places_are_white(tmp_path, picture):
    scene = Image.fromarray(picture)
    alpha = np.zeros((40, 60), np.uint8)
    alpha[:, 30:] = 255
    scene.putalpha(Image.fromarray(alpha))
    scene.save(tmp_path / "a.png")
    loaded = load_image(tmp_path / "a.png")
    assert (loaded[:, :, :30] == 255).all()
    assert torch.equal(loaded[:, :, 30:], torch.from_numpy(picture).permute(2, 0, 1)[:, :, 30:])


def test_animations_give_their_first_picture(tmp_path):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert load_image(tmp_path / "a.gif")[:, 0, 0].tolist() == [255, 0, 0]


def test_bad_pictures_are_said_in_one_sentence(tmp_path, picture, monkeypatch):
    Image.fromarray(picture).save(tmp_path / "whole.png")
    whole = (tmp_path / "whole.png").read_bytes()
    for share in (0.2, 0.5, 0.8):
        (tmp_path / "cut.png").write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(UserError) as error:
            load_image(tmp_path / "cut.png")
        assert "cut.png" in one_sentence(error)
    Image.fromarray(picture).save(tmp_path / "whole.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:700])
    (tmp_path / "page.jpg").write_text("<html>not found</html>")
    (tmp_path / "empty.png").touch()
    (tmp_path / "missing").mkdir()
    for name, words in {
        "cut.jpg": "cut off",
        "page.jpg": "no picture",
        "empty.png": "no picture",
        "nowhere.png": "no picture",
        "missing": "folder",
    }.items():
        with pytest.raises(UserError, match=words) as error:
            load_image(tmp_path / name)
        assert name in one_sentence(error)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(UserError, match="too large"):
        load_image(tmp_path / "whole.png")


def test_batch_scales_without_squeezing(tmp_path):
    # A white disc on black: after fitting it must still be as wide as high.
    y, x = np.mgrid[0:100, 0:200]
    disc = np.uint8(255 * (np.hypot(y - 50, x - 100) < 40))
    Image.fromarray(disc).save(tmp_path / "b.png")
    Image.fromarray(disc[:, 50:150]).save(tmp_path / "a.png")
    (tmp_path / "notes.txt").write_text("no picture")
    batch = load_batch(tmp_path, size=(50, 50))
    assert batch.shape == (2, 3, 50, 50)
    for image in batch:
        wide = (image[0].amax(0) > 127).sum()
        high = (image[0].amax(1) > 127).sum()
        assert wide == high == 40
    assert [path.name for path in images_in(tmp_path)] == ["a.png", "b.png"]
    with pytest.raises(UserError, match="no picture in"):
        load_batch(tmp_path / "nothing here")


def test_photographs_are_what_their_names_say(tmp_path):
    photos.generate(tmp_path)
    cat = load_image(tmp_path / "photo.jpg").float()
    assert cat.shape == (3, 300, 451)
    small = torch.nn.functional.interpolate(cat[None], (106, 160), mode="area")[0]
    trouble = write_trouble(tmp_path / "photo.jpg", tmp_path / "trouble")
    assert len(trouble) == 8
    for name in ("palette.png", "print_colours.jpg", "sideways.jpg"):
        read = load_image(tmp_path / "trouble" / name).float()
        assert (read - small).abs().mean() < 12, name
    grey = load_image(tmp_path / "trouble" / "grey.png")
    assert torch.equal(load_image(tmp_path / "trouble" / "sixteen_bits.png"), grey)
    for name in ("cut_off.jpg", "no_picture.jpg"):
        with pytest.raises(UserError):
            load_image(tmp_path / "trouble" / name)
    assert load_batch(tmp_path / "batch").shape == (3, 3, 256, 256)


# --- volumes ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small_patient():
    from p2ch09.phantom import Patient, Scanner

    z, y, x = np.mgrid[0:6, 0:10, 0:12]
    spacing = np.array([0.7, 0.8, 2.5])
    turned = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    return Patient(
        series_uid="2.25.90009.123456",
        hu=(100 * z + 10 * y + x - 1024).astype(np.int16),
        origin_xyz=np.array([-100.25, 33.3, -411.7]),
        spacing_xyz=spacing,
        direction=turned,
        nodules=[],
        candidates=[],
        excluded=[],
        scanner=Scanner(tuple(spacing)),
    )


@pytest.fixture
def series(tmp_path, small_patient):
    from p2ch09.dicom import write_dicom_series

    return tmp_path, write_dicom_series(small_patient, tmp_path)


def test_dicom_round_trip(series, small_patient):
    folder, paths = series
    (folder / "README.txt").write_text("not DICOM")
    assert [path.name for path in paths] != sorted(path.name for path in paths)
    scan = load_dicom_series(folder)
    assert np.array_equal(scan.hu.numpy(), small_patient.hu)
    assert scan.hu.dtype == torch.int16
    assert scan.spacing_mm == pytest.approx((2.5, 0.8, 0.7))
    assert scan.series_uid == small_patient.series_uid
    assert "NOT A REAL PATIENT" in scan.description


def test_dicom_agrees_with_itk_and_same_patient_gives_same_bytes(series, small_patient, tmp_path_factory):
    import SimpleITK as sitk

    from p2ch09.dicom import write_dicom_series

    folder, paths = series
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    image = reader.Execute()
    assert np.array_equal(sitk.GetArrayFromImage(image), small_patient.hu)
    assert image.GetOrigin() == pytest.approx(small_patient.origin_xyz.tolist())
    assert image.GetSpacing() == pytest.approx(small_patient.spacing_xyz.tolist())
    assert image.GetDirection() == pytest.approx(small_patient.direction.ravel().tolist())
    again = write_dicom_series(small_patient, tmp_path_factory.mktemp("again"))
    assert [p.read_bytes() for p in again] == [p.read_bytes() for p in paths]
    with pytest.raises(UserError, match="already"):
        write_dicom_series(small_patient, folder)


def change(path, **tags):
    import pydicom

    file = pydicom.dcmread(path)
    for name, value in tags.items():
        if value is None:
            delattr(file, name)
        else:
            setattr(file, name, value)
    file.save_as(path)


def test_two_series_need_a_choice(series, small_patient):
    folder, paths = series
    for number, path in enumerate(paths[:3]):
        shutil.copy(path, folder / f"other{number}.dcm")
        change(folder / f"other{number}.dcm", SeriesInstanceUID="2.25.7")
    with pytest.raises(UserError, match="holds 2 series") as error:
        load_dicom_series(folder)
    assert "(6 files)" in one_sentence(error)
    assert "2.25.7" in one_sentence(error)
    assert load_dicom_series(folder, "2.25.7").hu.shape == (3, 10, 12)
    assert len(list_series(folder)[small_patient.series_uid]) == 6
    with pytest.raises(UserError, match="no series '2.25.8'"):
        load_dicom_series(folder, "2.25.8")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder, paths: paths[3].unlink(), "missing near"),
        (lambda folder, paths: shutil.copy(paths[3], folder / "copy.dcm"), "doubled near"),
        (lambda folder, paths: [path.unlink() for path in paths[1:]], "single slice"),
        (lambda folder, paths: [path.unlink() for path in paths], "no DICOM image"),
        (lambda folder, paths: change(paths[2], ImagePositionPatient=None), "lack ImagePositionPatient"),
        (lambda folder, paths: change(paths[2], ImageOrientationPatient=[1, 0, 0, 0, 0, -1]), "direction"),
        (lambda folder, paths: paths[2].write_bytes(paths[2].read_bytes()[:-50]), "cannot be read"),
        (lambda folder, paths: shutil.rmtree(folder), "no folder"),
    ],
)
def test_bad_series_are_said_in_one_sentence(series, damage, words):
    folder, paths = series
    damage(folder, paths)
    with pytest.raises(UserError, match=words) as error:
        load_dicom_series(folder)
    one_sentence(error)


def test_scale_and_sign_of_stored_values(series):
    folder, paths = series
    for path in paths:
        change(path, RescaleSlope="2", RescaleIntercept="-1000")
    hu = load_dicom_series(folder).hu
    assert hu[0, 0, :3].tolist() == [-1000, -998, -996]


def test_ct_dicom_finds_only_a_folder_of_that_name(tmp_path, monkeypatch, series):
    from p2ch09.dicom import ct_dicom

    _, paths = series
    monkeypatch.setenv("COURSE_DATA", str(tmp_path / "root"))
    (tmp_path / "root" / "someone elses scans").mkdir(parents=True)
    shutil.copy(paths[0], tmp_path / "root" / "someone elses scans" / "a.dcm")
    assert ct_dicom.find_real() is None
    (tmp_path / "root" / "p1ch4" / "dicom").mkdir(parents=True)
    assert ct_dicom.find_real() is None
    shutil.copy(paths[0], tmp_path / "root" / "p1ch4" / "dicom" / "a.dcm")
    assert ct_dicom.find_real() == tmp_path / "root" / "p1ch4" / "dicom"


# --- tables ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_delimiter_quotes_and_mark(tmp_path, delimiter):
    lines = ['\ufeff"a b"|c|when', "1.5|-2|2011-01-01", "", "3|4e1|2011-01-03"]
    (tmp_path / "t.csv").write_text("\r\n".join(lines).replace("|", delimiter), encoding="utf-8")
    table = load_table(tmp_path / "t.csv", required=["c"], dates=["when"])
    assert table.names == ["a b", "c", "when"]
    assert table.data[:, :2].tolist() == [[1.5, -2], [3, 40]]
    assert table["when"].tolist() == [datetime.date(2011, 1, day).toordinal() for day in (1, 3)]
    table["c"][0] = 7
    assert table.data[0, 1] == 7


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"a,b\n1,2\n", "no column 'score'; it has a, b"),
        (b"a,score\n1,2\n3\n", "line 3 .* has 1 values for 2"),
        (b"a,score\n1,x\n", "line 2 .* 'x' in column 'score'"),
        (b"score\n", "no rows"),
        (b"", "is empty"),
        (b"a,score\n1,\xff\n", "UTF-8"),
        (None, "no table"),
    ],
)
def test_bad_tables_are_said_in_one_sentence(tmp_path, content, words):
    if content is not None:
        (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(UserError, match=words) as error:
        load_table(tmp_path / "t.csv", required=["score"])
    assert "t.csv" in one_sentence(error)


def test_bad_date_and_unknown_column(tmp_path):
    (tmp_path / "t.csv").write_text("day\n31.01.2011\n")
    with pytest.raises(UserError, match="no date such as"):
        load_table(tmp_path / "t.csv", dates=["day"])
    with pytest.raises(UserError, match="no column 'b'"):
        Table(["a"], torch.zeros(1, 1))["b"]


# --- the stand-ins ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dataset", [photos, wine, bikes, text], ids=lambda d: d.name)
def test_same_bytes_twice_and_found_as_real(dataset, tmp_path, monkeypatch):
    for name in ("one", "two"):
        (tmp_path / name / "nested").mkdir(parents=True)
        dataset.generate(tmp_path / name / "nested")
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*.*"))
    assert files
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    # The stand-in has the layout by which a real copy is known.
    monkeypatch.setenv("COURSE_DATA", str(tmp_path / "one"))
    assert dataset.find_real() == tmp_path / "one" / "nested"


def test_wine_is_like_the_published_table(tmp_path):
    wine.generate(tmp_path)
    table = load_table(tmp_path / "winequality-white.csv", required=["alcohol", "quality"])
    assert table.data.shape == (4898, 12)
    quality = table["quality"]
    assert quality.unique().tolist() == [3, 4, 5, 6, 7, 8, 9]
    # Published: mean alcohol 10.51, its correlation with the score 0.44, density's with sugar 0.84.
    assert table["alcohol"].mean() == pytest.approx(10.51, abs=0.15)

    def correlation(a, b):
        return torch.corrcoef(torch.stack([table[a], table[b]]))[0, 1].item()

    assert 0.3 < correlation("alcohol", "quality") < 0.5
    assert correlation("density", "residual sugar") > 0.6
    assert correlation("density", "alcohol") < -0.6


def test_bikes_have_gaps_rhythm_and_consistent_counts(tmp_path):
    bikes.generate(tmp_path)
    hours = load_hours(tmp_path / "hour.csv")
    assert hours.data.shape[1] == 17
    assert 50 < 731 * 24 - len(hours.data) < 300
    assert torch.equal(hours["casual"] + hours["registered"], hours["cnt"])
    assert hours["cnt"].min() == 1
    filled, present = fill_missing_hours(hours)
    counts = filled["cnt"].view(731, 24)
    working = filled["workingday"].view(731, 24)[:, 0] == 1
    assert counts[working].mean(0).argmax() == 17
    assert 11 <= counts[~working].mean(0).argmax() <= 16
    assert (~present).view(731, 24).sum(1).max() >= 12  # the storm
    weekday = (hours["dteday"] % 7).long()  # ordinal days: 0 is Sunday
    assert torch.equal(weekday, hours["weekday"].long())


def test_text_has_the_real_files_quirks(tmp_path):
    text.generate(tmp_path)
    raw = (tmp_path / "1342-0.txt").read_bytes()
    assert raw.startswith(b"\xef\xbb\xbf")
    assert raw.count(b"\r\n") == raw.count(b"\n") > 1000
    whole = load_text(tmp_path / "1342-0.txt")
    assert "\r" not in whole
    assert not whole.startswith("\ufeff")
    assert max(map(len, whole.splitlines())) <= 76
    book = without_frame(whole)
    assert book.startswith("TEA AND PARASOLS")
    assert "***" not in book


# --- hours -----------------------------------------------------------------------------------------


def hours_table(rows):
    names = ["dteday", "hr", "weekday", "weathersit", "casual", "registered", "cnt"]
    return Table(names, torch.tensor(rows, dtype=torch.float32))


def test_missing_hours_are_filled():
    rows = [[100 + day, hr, day, 1 + hr % 3, 1, 2, 3] for day in range(3) for hr in range(24)]
    full = hours_table(rows)
    same, present = fill_missing_hours(full)
    assert present.all()
    assert torch.equal(same.data, full.data)

    gaps = [0, 5, 6, 23, 24, 71]
    filled, present = fill_missing_hours(hours_table([row for n, row in enumerate(rows) if n not in gaps]))
    assert (~present).nonzero().flatten().tolist() == gaps
    assert torch.equal(filled.data[present], full.data[present])
    assert (filled["cnt"][gaps] == 0).all()
    assert (filled["casual"][gaps] == 0).all()
    for column in ("dteday", "hr", "weekday"):
        assert torch.equal(filled[column], full[column])
    # The weather of the hour before; the very first hour has only the one after it.
    expected = [full["weathersit"][n].item() for n in (1, 4, 4, 22, 22, 70)]
    assert filled["weathersit"][gaps].tolist() == expected


def test_a_day_without_any_hour_is_filled():
    rows = [[100 + day, hr, day, 1, 1, 2, 3] for day in (0, 2) for hr in range(24)]
    filled, present = fill_missing_hours(hours_table(rows))
    assert filled.data.shape[0] == 72
    assert filled["dteday"].view(3, 24)[1].tolist() == [101.0] * 24
    assert filled["cnt"].view(3, 24).sum(1).tolist() == [72, 0, 72]
    assert not present[24:48].any()


def test_impossible_hours_are_said():
    with pytest.raises(UserError, match="hour 3 of day 1 comes twice"):
        fill_missing_hours(hours_table([[100, 3, 0, 1, 1, 1, 2], [100, 3, 0, 1, 1, 1, 2]]))
    with pytest.raises(UserError, match="hours are 0 to 23"):
        fill_missing_hours(hours_table([[100, 24, 0, 1, 1, 1, 2]]))


# --- text and embeddings ---------------------------------------------------------------------------


def test_words_and_sentences():
    line = "“Impossible, Mr. Bennet, _not_ a fortnight's well-known thing!” said he; 2 times."
    assert words_of(line) == [
        *("impossible", "mr", "bennet", "not", "a"),
        *("fortnight's", "well-known", "thing", "said", "he", "times"),
    ]
    assert [len(sentence) for sentence in sentences_of(line)] == [8, 2, 1]
    assert sentences_of("no end") == [["no", "end"]]


def test_frames_are_taken_off():
    framed = "head\n*** START OF THIS EBOOK X ***\n\nbook\n\n*** END OF THIS EBOOK X ***\ntail"
    assert without_frame(framed) == "book"
    assert without_frame("only a book") == "only a book"


def test_bad_texts_are_said(tmp_path):
    (tmp_path / "latin.txt").write_bytes("na\u00efve".encode("latin-1"))
    (tmp_path / "empty.txt").write_text(" \n")
    for name, words in {"latin.txt": "byte 2", "empty.txt": "empty", "none.txt": "no text"}.items():
        with pytest.raises(UserError, match=words) as error:
            load_text(tmp_path / name)
        assert name in one_sentence(error)


def test_flattening_agrees_with_pca():
    from sklearn.decomposition import PCA

    vectors = torch.randn(30, 6, generator=torch.Generator().manual_seed(2)) * torch.arange(1, 7)
    ours = flatten_to_plane(vectors)
    oracle = torch.from_numpy(PCA(2).fit_transform(vectors.numpy()))
    assert torch.allclose(ours.abs(), oracle.abs().float(), atol=1e-3)


def test_nearest_goes_by_the_angle_and_leaves_the_word_itself_out():
    vectors = torch.tensor([[1.0, 0.0], [5.0, 0.1], [0.0, 1.0], [1.0, 1.0]])
    assert nearest(vectors, 0, 2) == [1, 3]
    assert nearest(vectors, 2, 3) == [3, 1, 0]


def test_every_word_is_drawn_once_and_those_of_a_box_are_a_list():
    plane = torch.tensor([[0.0, 0.0], [0.001, 0.0], [1.0, 1.0], [0.5, 0.2]])
    figure = draw_plane(plane, ["tea", "milk", "cat", "dog"], "words")
    assert sorted(t.get_text() for t in figure.axes[0].texts) == ["cat", "dog", "milk, tea"]


# --- the same cells on real files ------------------------------------------------------------------


def test_loaders_on_the_real_files(real_data, monkeypatch):
    from p2ch09.dicom import ct_dicom

    monkeypatch.setenv("COURSE_DATA", str(real_data))
    for dataset in (wine, bikes, text, ct_dicom):
        assert dataset.locate().is_real, dataset.name
    assert load_table(wine.find_real() / "winequality-white.csv").data.shape == (4898, 12)
    hours = load_hours(bikes.find_real() / "hour.csv")
    filled, present = fill_missing_hours(hours)
    assert (len(hours.data), len(filled.data), int((~present).sum())) == (17379, 17544, 165)
    assert filled["cnt"].sum() == hours["cnt"].sum() == 3292679
    book = without_frame(load_text(text.find_real() / "1342-0.txt"))
    assert book.startswith("Produced by Anonymous Volunteers")
    assert book.rstrip().endswith("uniting them.")
    scan = load_dicom_series(ct_dicom.find_real())
    assert scan.hu.shape == (99, 512, 512)
    assert scan.spacing_mm == pytest.approx((3.0, 0.564453125, 0.564453125))


@pytest.mark.lesson
def test_the_notebook_runs_on_the_real_files(real_data):
    code = (
        "from commands.notebooks import execute, NOTEBOOKS\n"
        "notebook = execute(next(NOTEBOOKS.glob('p1ch4_*.ipynb'))).notebook\n"
        "print(''.join(o.get('text', '') for c in notebook.cells for o in c.get('outputs', [])))"
    )
    environment = {**os.environ, "COURSE_DATA": str(real_data.resolve()), "PYTHONPATH": str(PROJECT)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=PROJECT, env=environment
    )
    assert done.returncode == 0, done.stderr[-2000:]
    for name in ("dicom", "wine", "bikes", "text"):
        assert f"{name}: real data in" in done.stdout
    assert "165 of 17544 hours are missing" in done.stdout
