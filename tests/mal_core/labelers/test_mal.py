"""The library as Python calls it: what the command writes, and clear refusals."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import mal_core
from flows.commands.cli import main
from flows.settings import composing
from mal_core.data.coco import read_boxes
from mal_core.geometry.masks import segmentation_to_mask
from mal_core.models.checkpoints import save_labeler
from mal_core.models.labeler import build_labeler
from mal_core.processes.own_file import RECORD
from tests.builders import HEIGHT, WIDTH, CocoFiles, write_coco
from tests.mal_core.drawn import TINY_ENCODER
from tests.mal_core.formats import drawn_formats

TINY = {"crop_size": 64, "label_crop_size": 64, "head_channels": 16, "head_convs": 2}


def write_checkpoint(folder: Path) -> Path:
    """A labeler with random weights whose masks are neither empty nor full."""
    torch.manual_seed(0)
    config = mal_core.labeler_recipe("cpu", **TINY)
    network, report = build_labeler(TINY_ENCODER, config)
    with torch.no_grad():
        network.student.instance_head.layers[2].bias.add_(0.1)
    path = folder / "checkpoint.pth"
    settings = dataclasses.asdict(TINY_ENCODER), dataclasses.asdict(config)
    save_labeler(path, network, encoder=settings[0], mal=settings[1], load_report=str(report))
    return path


def label_by_command(files: CocoFiles, checkpoint: Path, output: Path) -> None:
    """As `mal label` does."""
    arguments = [f"checkpoint={checkpoint}", f"output={output}", "mal.label_crop_size=64"]
    data = [f"data.train.images={files.images}", f"data.train.annotations={files.annotations}"]
    workdir = f"workdir={output.parent / 'work'}"
    assert main(["label", *arguments, *data, workdir]) == 0


@pytest.fixture(scope="module")
def labeler(tmp_path_factory: pytest.TempPathFactory) -> mal_core.Labeler:
    return mal_core.load_labeler(write_checkpoint(tmp_path_factory.mktemp("labeler")))


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def commanded(
    labeler: mal_core.Labeler, tmp_path_factory: pytest.TempPathFactory
) -> tuple[CocoFiles, Path]:
    """Three photos and a crowd, and what `mal label` writes for them."""
    folder = tmp_path_factory.mktemp("commanded")
    files = write_coco(folder, with_crowd=True)
    label_by_command(files, labeler.checkpoint, folder / "command" / "masks.json")
    return files, folder / "command" / "masks.json"


def test_masks_and_scores_are_those_that_the_command_writes(labeler, commanded):
    files, output = commanded
    written = {entry["id"]: entry for entry in json.loads(output.read_text())["annotations"]}
    dataset = read_boxes(files.images, files.annotations)
    assert len(dataset.boxes) == 6
    for record in dataset.images:
        boxes = [box for box in dataset.boxes if box.image_id == record.image_id]
        photo = mal_core.load_image(files.images / record.file_name)
        masks, scores = labeler.label(photo, np.array([box.box_xyxy for box in boxes]))
        assert masks.any()
        assert masks.dtype == np.bool_
        assert scores.dtype == np.float64
        for box, mask, score in zip(boxes, masks, scores, strict=True):
            entry = written[box.annotation_id]
            wanted = segmentation_to_mask(entry["segmentation"], HEIGHT, WIDTH)
            assert np.array_equal(mask, wanted)
            assert score == entry["score"]


def test_a_file_gets_the_bytes_that_the_command_writes(tmp_path, labeler, commanded):
    files, written = commanded
    output = tmp_path / "library" / "masks.json"
    result = labeler.label_file(files.images, files.annotations, output)
    assert output.read_bytes() == written.read_bytes()
    assert (result.num_boxes, result.num_masks, result.num_crowds) == (7, 6, 1)
    assert sorted(path.name for path in output.parent.iterdir()) == [
        RECORD,
        "masks.json",
        "masks.skipped.json",
    ]


def test_labels_of_another_format_return_in_it(tmp_path, labeler):
    files = write_coco(tmp_path, num_images=1)
    rows = tmp_path / "rows"
    rows.mkdir()
    (rows / "classes.txt").write_text("disc\nslab\n")
    (rows / "0.txt").write_text("0 0.22 0.27 0.31 0.33\n1 0.7 0.42 0.34 0.42\n")
    folder = files.images / "train"
    result = labeler.label_file(folder, rows, tmp_path / "polygons", format="yolo")
    lines = next((tmp_path / "polygons").rglob("0.txt")).read_text().splitlines()
    assert result.num_masks == len(lines) == 2
    assert all(len(line.split()) > 5 for line in lines)


def test_a_truncated_photo_is_refused(tmp_path, labeler):
    files = write_coco(tmp_path, num_images=1)
    photo = files.images / "train" / "0.png"
    photo.write_bytes(photo.read_bytes()[:-500])
    with pytest.raises(mal_core.DatasetError, match=r"image 10: .*0\.png"):
        labeler.label_file(files.images, files.annotations, tmp_path / "masks.json")


def test_the_input_is_never_overwritten(tmp_path, labeler):
    files = write_coco(tmp_path, num_images=1)
    with pytest.raises(mal_core.ConfigError, match="is the input"):
        labeler.label_file(files.images, files.annotations, files.annotations)


@pytest.mark.parametrize("boxes", [[], np.zeros((0, 4)), np.zeros((0, 4), np.float32)])
def test_no_boxes_are_no_masks(labeler, image, boxes):
    masks, scores = labeler.label(image, boxes)
    assert masks.shape == (0, HEIGHT, WIDTH)
    assert scores.shape == (0,)


def test_boxes_without_size_keep_their_place(labeler, image):
    masks, scores = labeler.label(image, [[5, 5, 5, 20], [4, 4, 40, 40]])
    assert not masks[0].any()
    assert scores[0] == 0
    assert masks[1].any()
    assert 0 < scores[1] <= 1


def test_a_small_overhang_is_clipped_and_masks_stay_in_their_boxes(labeler, image):
    over, inside = labeler.label(image, [[-1.5, 4, 40, 49]]), labeler.label(image, [[0, 4, 40, 48]])
    assert np.array_equal(over.masks, inside.masks)
    assert over.scores == inside.scores
    assert not over.masks[0, :4].any()
    assert not over.masks[0, :, 40:].any()


@pytest.mark.parametrize("kind", [np.int32, np.float32, np.uint16])
def test_boxes_may_be_any_numbers(labeler, image, kind):
    boxes = np.array([[4, 5, 40, 41]])
    wanted = labeler.label(image, boxes)
    masks, scores = labeler.label(image, boxes.astype(kind))
    assert np.array_equal(masks, wanted.masks)
    assert np.array_equal(scores, wanted.scores)


def test_a_view_of_an_image_is_read_like_a_copy(labeler, image):
    mirrored = image[:, ::-1]
    wanted = labeler.label(mirrored.copy(), [[4, 5, 40, 41]])
    assert np.array_equal(labeler.label(mirrored, [[4, 5, 40, 41]]).masks, wanted.masks)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (np.zeros((8, 8, 3)), r"dtype float64.*np\.uint8"),
        (np.zeros((8, 8), np.uint8), r"shape \(8, 8\); wanted .*\(H, W, 3\)"),
        (np.zeros((8, 8, 4), np.uint8), r"shape \(8, 8, 4\)"),
        (np.zeros((0, 8, 3), np.uint8), r"shape \(0, 8, 3\)"),
        ("photo.jpg", "image is of type str"),
    ],
)
def test_wrong_images_are_refused(labeler, wrong, words):
    with pytest.raises(mal_core.ArgumentError, match=words):
        labeler.label(wrong, [[1, 1, 5, 5]])


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ([1, 1, 5, 5], r"shape \(4,\); wanted .*\(N, 4\)"),
        ([[1, 1, 5]], r"shape \(1, 3\)"),
        ([["1", "1", "5", "5"]], "dtype <U1"),
        (np.ones((2, 4), bool), "dtype bool"),
        ([[1, 1, 5, float("nan")]], r"box 0 .* NaN"),
        ([[1, 1, 5, 5], [30, 30, 8, 8]], r"box 1 .* x, y, width, height\?"),
        ([[1, 1, WIDTH + 3, 5]], "reaches 3 px over the border of the image of 64 x 48 px"),
        ([[WIDTH + 9, 1, WIDTH + 20, 5]], "lies wholly outside"),
        ([[WIDTH + 1, 1, WIDTH + 2, 5]], "lies wholly outside"),
        ([[0.1, 0.2, 0.5, 1], [0, 0, 1, 1]], "look like shares of the image's size; wanted px"),
    ],
)
def test_wrong_boxes_are_refused(labeler, image, wrong, words):
    with pytest.raises(mal_core.ArgumentError, match=words):
        labeler.label(image, wrong)


def test_ragged_boxes_are_refused(labeler, image):
    with pytest.raises(mal_core.ArgumentError, match=r"wanted .*\(N, 4\)"):
        labeler.label(image, [[1, 1, 5, 5], [1, 1]])


def test_settings_of_labeling_can_be_chosen_and_others_cannot(labeler, image):
    strict = mal_core.load_labeler(labeler.checkpoint, mask_threshold=0.9)
    loose = mal_core.load_labeler(labeler.checkpoint, mask_threshold=0.1)
    boxes = [[4, 4, 60, 44]]
    assert strict.label(image, boxes).masks.sum() < loose.label(image, boxes).masks.sum()
    refinement = mal_core.RefinementConfig(enabled=False)
    assert not mal_core.load_labeler(
        labeler.checkpoint, refinement=refinement
    ).config.refinement.enabled
    with pytest.raises(mal_core.ConfigError, match="head_channels was decided"):
        mal_core.load_labeler(labeler.checkpoint, head_channels=32)
    with pytest.raises(mal_core.ConfigError, match="mask_treshold"):
        mal_core.load_labeler(labeler.checkpoint, mask_treshold=0.4)
    with pytest.raises(mal_core.ConfigError, match=r"mal\.mask_threshold=3"):
        mal_core.load_labeler(labeler.checkpoint, mask_threshold=3)


@pytest.mark.slow
def test_training_from_python_gives_the_checkpoint_of_the_command(tmp_path):
    files = write_coco(tmp_path)
    steps = {"max_steps": 3, "num_workers": 0, "batch_size": 4}
    recipe = mal_core.labeler_recipe("tiny_scenes", **steps, trackers=())
    folder = tmp_path / "library"
    trained = mal_core.train_labeler(
        files.images, files.annotations, folder, mal=recipe, encoder="random_tiny", seed=1
    )
    overrides = [f"mal.{key}={value}" for key, value in steps.items()]
    data = [f"data.train.images={files.images}", f"data.train.annotations={files.annotations}"]
    choices = ["mal=tiny_scenes", "mal.trackers=[]", "encoder=random_tiny", "seed=1"]
    workdir = tmp_path / "command"
    assert main(["train", *choices, *overrides, *data, f"workdir={workdir}"]) == 0
    command = (workdir / "mal" / "checkpoint.pth").read_bytes()
    assert (folder / "checkpoint.pth").read_bytes() == command
    assert trained.label(np.zeros((40, 40, 3), np.uint8), [[1, 1, 30, 30]]).masks.shape[0] == 1
    (folder / "state.pth").write_bytes(b"of an interrupted training")
    with pytest.raises(mal_core.ConfigError, match="interrupted training with other settings"):
        mal_core.train_labeler(
            files.images, files.annotations, folder, mal=recipe, encoder="random_tiny", seed=2
        )


def with_a_box_outside(files: CocoFiles, target: Path) -> Path:
    content = files.content()
    content["annotations"][0]["bbox"] = [500, 500, 3, 3]
    target.write_text(json.dumps(content))
    return target


def test_a_training_that_is_refused_names_the_users_file_and_leaves_nothing(tmp_path):
    files = write_coco(tmp_path / "data")
    wrong = with_a_box_outside(files, tmp_path / "wrong.json")
    with pytest.raises(mal_core.DatasetError) as caught:
        mal_core.train_labeler(files.images, wrong, tmp_path / "new" / "run")
    assert str(caught.value).startswith(f"{wrong}: 1 problem")
    assert [path for path, _ in caught.value.parts] == [wrong]
    assert not (tmp_path / "new").exists()
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "notes.txt").write_text("mine")
    with pytest.raises(mal_core.DatasetError):
        mal_core.train_labeler(files.images, wrong, tmp_path / "old")
    assert [path.name for path in (tmp_path / "old").iterdir()] == ["notes.txt"]


def test_a_training_needs_a_folder(tmp_path):
    files = write_coco(tmp_path / "data")
    (tmp_path / "file").write_text("mine")
    for place, said in (
        (tmp_path / "file", "is a file, and a folder is written there"),
        (tmp_path / "file" / "below", "lies below .*file, which is a file"),
        (files.images, "is the input"),
    ):
        with pytest.raises(mal_core.ConfigError, match=f"^output_dir={place} {said}"):
            mal_core.train_labeler(files.images, files.annotations, place)
    assert (tmp_path / "file").read_text() == "mine"


def test_labels_that_are_refused_leave_nothing(tmp_path):
    files = write_coco(tmp_path / "data")
    wrong = with_a_box_outside(files, tmp_path / "wrong.json")
    recoded = tmp_path / "recoded.json"
    recoded.write_bytes(wrong.read_text().encode("utf-16"))
    box = mal_core.load_labeler(labeler="box")
    for annotations in (wrong, recoded):
        with pytest.raises(mal_core.DatasetError):
            box.label_file(files.images, annotations, tmp_path / "new" / "a.json")
    assert not (tmp_path / "new").exists()
    (tmp_path / "photo.json").write_bytes(b"\xff\xd8")
    with pytest.raises(mal_core.ConfigError, match="is no JSON file"):
        box.label_file(files.images, files.annotations, tmp_path / "photo.json")


def test_labels_that_return_as_a_folder_can_be_made_again(tmp_path):
    images = drawn_formats.draw(tmp_path / "images")
    labels = drawn_formats.write_yolo(tmp_path / "labels")
    box = mal_core.load_labeler(labeler="box")
    for _ in range(2):
        box.label_file(images, labels, tmp_path / "out", format="yolo")
    (tmp_path / "out" / "a.txt").write_text("")
    with pytest.raises(mal_core.ConfigError, match=r"has a\.txt, changed since"):
        box.label_file(images, labels, tmp_path / "out", format="yolo")


@pytest.mark.parametrize("name", composing.options_of("mal"))
def test_a_recipe_is_what_the_command_composes(name):
    assert mal_core.labeler_recipe(name) == composing.compose([f"mal={name}"]).mal


@pytest.mark.parametrize("name", composing.options_of("encoder"))
def test_an_encoder_is_what_the_command_composes(name, tmp_path):
    weights = tmp_path / "weights.safetensors"
    weights.touch()
    wanted = composing.compose([f"encoder={name}", f"encoder.weights={weights}"]).encoder
    assert mal_core.encoder_recipe(name, weights=weights) == wanted


def test_unknown_recipes_and_fields_are_named():
    with pytest.raises(mal_core.ConfigError, match=r"mal=huge: .*Available: cpu, "):
        mal_core.labeler_recipe("huge")
    with pytest.raises(mal_core.ConfigError, match="stepps"):
        mal_core.labeler_recipe(stepps=3)
    with pytest.raises(mal_core.ConfigError, match="needs weights=FILE"):
        mal_core.encoder_recipe("mocov3_base")


def test_public_names_exist_and_load_nothing_before_they_are_used():
    code = (
        "import sys, mal_core\n"
        "assert not {'torch', 'numpy', 'cv2'} & sys.modules.keys()\n"
        "assert set(mal_core.__all__) <= set(dir(mal_core))\n"
        "objects = [getattr(mal_core, name) for name in mal_core.__all__]\n"
        "assert all(one.__doc__ for one in objects)\n"
        "assert 'torch' in sys.modules and not hasattr(mal_core, 'nothing')\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert mal_core.__all__ == sorted(mal_core.__all__)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: mal_core.load_labeler(3), "checkpoint is of type int; wanted a path"),
        (lambda: mal_core.load_labeler(b"a.pth"), "checkpoint is of type bytes"),
        (lambda: mal_core.load_labeler(""), "checkpoint is an empty text"),
        (lambda: mal_core.load_labeler("a" * 5000), "no such file"),
        (lambda: mal_core.load_labeler(labeler="ensemble", members=3), "members is 3; wanted a li"),
        (lambda: mal_core.load_labeler(labeler="ensemble", members="mal"), "members is 'mal'"),
        (lambda: mal_core.load_image(None), "path is of type NoneType; wanted a path"),
        (lambda: mal_core.load_image("a" * 5000), "the image does not exist"),
        (lambda: mal_core.load_image("."), "the image is a folder"),
        (lambda: mal_core.load_image("a.jpg", 3), "reduction=3; wanted one of 1, 2, 4, 8"),
        (lambda: mal_core.load_image("a.jpg", [2]), "reduction=.2.; wanted one of 1, 2, 4, 8"),
        (lambda: mal_core.encoder_recipe(pretrained="maybe"), "must be true or false"),
        (lambda: mal_core.encoder_recipe(bad=1), "unknown fields: bad"),
    ],
)
def test_what_is_no_place_or_choice_is_one_sentence(call, words):
    with pytest.raises(mal_core.MalCoreError, match=words):
        call()


def test_an_unknown_orientation_is_refused_as_an_unknown_format_is(tmp_path, labeler):
    files = write_coco(tmp_path, num_images=1)
    for choice in ({"orientation": "up"}, {"format": "cocoo"}):
        with pytest.raises(mal_core.ConfigError, match="there is no such"):
            labeler.label_file(files.images, files.annotations, tmp_path / "o.json", **choice)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"format": ["coco"]}, r"format=\['coco'\]: there is no such format"),
        ({"strict": "no"}, "strict is 'no'; wanted True or False"),
        ({"strict": 1}, "strict is 1; wanted True or False"),
        ({"orientation": ["shown"]}, "there is no such choice. Available: auto, shown, stored"),
    ],
)
def test_choices_of_a_file_are_refused_before_it_is_read(given, words, tmp_path):
    labeler = mal_core.load_labeler(labeler="box")
    with pytest.raises(mal_core.MalCoreError, match=words):
        labeler.label_file(tmp_path, tmp_path / "absent.json", tmp_path / "out.json", **given)
    assert not [*tmp_path.iterdir()]
