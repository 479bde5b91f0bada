"""Labeling: every box is accounted for, whatever is killed, and masks lie on their objects."""

import json
import weakref
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask

from mal_core.config import MalConfig, RefinementConfig
from mal_core.data.coco import read_boxes
from mal_core.errors import CheckpointError, LabelingError
from mal_core.geometry.boxes import expand_box, fixed_margins
from mal_core.labeling import work as labeling
from mal_core.labeling.journal import JOURNAL, LabelJournal
from mal_core.labeling.mask_writer import MaskWriter
from mal_core.labeling.views import (
    BoxViews,
    Seen,
    draw_mask,
    resize_logits,
    to_label,
)
from mal_core.labeling.work import (
    LabelWork,
    generate_pseudo_labels,
    label_shard,
)
from mal_core.models.checkpoints import load_labeler, save_labeler
from mal_core.models.labeler import MaskAutoLabeler, build_labeler
from mal_core.processes.files import write_json
from mal_core.types import BoxAnnotation, BoxDataset, ImageRecord, SkipReason
from tests.mal_core.drawn import SIDE, TINY_ENCODER, cut_views, draw_ellipses, tiny_mal


def write_coco(folder: Path, num_images: int = 5) -> Path:
    """A COCO file over drawn ellipses, with one crowd and one zero-size box."""
    dataset, _ = draw_ellipses(folder / "images", num_images)
    annotations = []
    for box in dataset.boxes:
        x0, y0, x1, y1 = box.box_xyxy
        annotations.append(
            {
                "id": box.annotation_id,
                "image_id": box.image_id,
                "category_id": 1,
                "iscrowd": 0,
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "note": f"kept {box.annotation_id}",
            }
        )
    whole = {"size": [SIDE, SIDE], "counts": [0, SIDE * SIDE]}
    crowd = {"iscrowd": 1, "bbox": [0, 0, SIDE, SIDE], "segmentation": whole, "area": SIDE**2}
    annotations.append({"id": 900, "image_id": 0, "category_id": 1, **crowd})
    annotations.append(
        {"id": 901, "image_id": 1, "category_id": 1, "iscrowd": 0, "bbox": [5, 5, 0, 9]}
    )
    images = [
        {"id": i.image_id, "file_name": i.file_name, "height": SIDE, "width": SIDE}
        for i in dataset.images
    ]
    path = folder / "annotations.json"
    categories = [{"id": 1, "name": "ellipse"}]
    write_json(
        path, {"info": {}, "images": images, "categories": categories, "annotations": annotations}
    )
    return path


def untrained(**changes: object) -> tuple[MalConfig, MaskAutoLabeler]:
    torch.manual_seed(0)
    config = tiny_mal(**changes)
    labeler, _ = build_labeler(TINY_ENCODER, config)
    with torch.no_grad():  # about half of each box becomes foreground
        labeler.student.instance_head.layers[2].bias.add_(0.1)
    return config, labeler


def label(folder: Path, source: Path, **changes: object):
    """Label with an untrained network; returns the accounting."""
    config, labeler = untrained(**changes)
    dataset = read_boxes(source.parent / "images", source)
    output, ledger = folder / "labels" / "train.json", folder / "labels" / "skipped.json"
    writer = MaskWriter(labeler, config)
    return generate_pseudo_labels(dataset, writer, source=source, output=output, ledger=ledger)


def test_every_box_is_a_mask_a_crowd_or_an_explained_skip(tmp_path):
    source = write_coco(tmp_path)
    result = label(tmp_path, source, mask_threshold=0.01)
    assert (result.num_boxes, result.num_masks, result.num_crowds) == (7, 5, 1)
    assert result.num_skipped == {SkipReason.ZERO_SIZE_BOX: 1}
    written = json.loads(result.annotations.read_text())
    by_id = {a["id"]: a for a in written["annotations"]}
    original = {a["id"]: a for a in json.loads(source.read_text())["annotations"]}
    assert sorted(by_id) == [100, 101, 102, 103, 104, 900]
    assert by_id[900] == original[900]
    for annotation_id in range(100, 105):
        annotation = by_id[annotation_id]
        mask = coco_mask.decode(annotation["segmentation"])
        assert annotation["area"] == mask.sum()
        assert annotation["note"] == f"kept {annotation_id}"
        assert annotation["bbox"] == original[annotation_id]["bbox"]


def test_a_box_in_which_nothing_is_found_is_counted_as_empty(tmp_path):
    result = label(tmp_path, write_coco(tmp_path), mask_threshold=0.999999)
    assert result.num_masks == 0
    assert result.num_skipped == {SkipReason.ZERO_SIZE_BOX: 1, SkipReason.EMPTY_MASK: 5}


def test_no_mask_leaves_its_box(tmp_path):
    result = label(tmp_path, write_coco(tmp_path), mask_threshold=0.01)
    for annotation in json.loads(result.annotations.read_text())["annotations"]:
        if annotation["iscrowd"]:
            continue
        x, y, w, h = (int(v) for v in annotation["bbox"])
        mask = coco_mask.decode(annotation["segmentation"])
        assert mask.sum() == mask[y : y + h, x : x + w].sum()


@pytest.fixture
def small_batches(monkeypatch):
    """Two photos share forward passes, so that five of them are three batches."""
    monkeypatch.setattr(labeling, "IMAGES_PER_BATCH", 2)


def in_shards(folder: Path, source: Path, count: int, only: tuple[int, ...] = ()) -> None:
    """Fill the journal of a folder with shards of a cut, the last one first."""
    dataset = read_boxes(source.parent / "images", source)
    config, labeler = untrained(mask_threshold=0.01)
    for index in reversed(only or range(count)):
        label_shard(
            dataset,
            MaskWriter(labeler, config),
            output=folder / "labels" / "train.json",
            shard=(index, count),
            report=lambda done, total: None,
        )


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_any_cut_into_shards_gives_the_bytes_of_one_process(tmp_path, small_batches, count):
    source = write_coco(tmp_path)
    whole = label(tmp_path / "whole", source, mask_threshold=0.01)
    in_shards(tmp_path / "parts", source, count)
    parts = label(tmp_path / "parts", source, mask_threshold=0.01)
    assert parts.annotations.read_bytes() == whole.annotations.read_bytes()
    assert parts.ledger.read_bytes() == whole.ledger.read_bytes()
    assert parts.summary() == whole.summary()


def test_a_journal_cut_by_a_kill_gives_the_same_bytes_in_another_cut(tmp_path, small_batches):
    source = write_coco(tmp_path)
    whole = label(tmp_path / "whole", source, mask_threshold=0.01)
    parts = tmp_path / "parts"
    in_shards(parts, source, 2, only=(0,))
    (killed,) = (parts / "labels" / JOURNAL).iterdir()
    lines = killed.read_text().splitlines(keepends=True)
    killed.write_text("".join([*lines[:-1], lines[-1][: len(lines[-1]) // 2]]))

    in_shards(parts, source, 3, only=(1, 2))
    again = label(parts, source, mask_threshold=0.01)
    assert again.annotations.read_bytes() == whole.annotations.read_bytes()
    assert again.ledger.read_bytes() == whole.ledger.read_bytes()


def test_finished_batches_are_not_labeled_again(tmp_path, small_batches, monkeypatch):
    source = write_coco(tmp_path)
    in_shards(tmp_path, source, 2, only=(0,))
    labeled = []
    monkeypatch.setattr(MaskWriter, "label", counted(MaskWriter.label, labeled))
    written = label(tmp_path, source, mask_threshold=0.01).annotations.read_bytes()
    assert labeled == [2, 1]  # the first of three batches lay in the shard
    # Stopped before the labels were put in their place:
    assert label(tmp_path, source, mask_threshold=0.01).annotations.read_bytes() == written
    assert labeled == [2, 1]


def counted(method, seen: list[int]):
    def wrapped(self, boxes):
        outcomes = list(method(self, boxes))
        seen.append(len(outcomes))
        return iter(outcomes)

    return wrapped


def test_a_network_labels_in_bf16_where_it_is_told_to_and_in_fp32_on_a_cpu(tmp_path):
    dataset, _ = draw_ellipses(tmp_path, 2)
    logits = {}
    for precision in ("auto", "fp32", "bf16"):
        config, labeler = untrained(label_precision=precision)
        items = cut_views(dataset.images[0], dataset.boxes[:1] * 2, tmp_path, config)
        crops = torch.from_numpy(np.stack([item.views[0].crop for item in items]))
        boxes = torch.tensor([dataset.boxes[0].box_xyxy] * 2)
        logits[precision] = MaskWriter(labeler, config).logits(crops, boxes)
    assert torch.equal(logits["auto"], logits["fp32"])
    assert not torch.equal(logits["bf16"], logits["fp32"])
    torch.testing.assert_close(logits["bf16"], logits["fp32"], rtol=0.05, atol=0.05)


@pytest.mark.parametrize("extra_expansions", [(), (0.2,)])
def test_no_more_crops_exist_than_two_forward_passes_hold(tmp_path, extra_expansions):
    config, labeler = untrained(label_batch_size=5, extra_expansions=extra_expansions)
    dataset, _ = draw_ellipses(tmp_path, 1)
    boxes = [dataset.boxes[0]] * 23
    alive: list[weakref.ref] = []
    most = 0

    def watched() -> Iterator[BoxViews]:
        nonlocal most
        for item in cut_views(dataset.images[0], boxes, tmp_path, config):
            alive.append(weakref.ref(item.views[0].crop))
            most = max(most, sum(crop() is not None for crop in alive))
            yield item

    outcomes = list(MaskWriter(labeler, config).label(watched()))
    assert len(outcomes) == 23
    assert len(set(map(repr, outcomes))) == 1
    assert most <= 2 * 5 + 2  # the box that is just being cut, and the one labeled last


def test_boxes_of_several_photos_share_forward_passes_as_when_all_were_cut_at_once(tmp_path):
    config, labeler = untrained(label_batch_size=4, extra_expansions=(0.2, 0.4))
    dataset, _ = draw_ellipses(tmp_path, 3)
    items = [
        item
        for record, box in zip(dataset.images, dataset.boxes, strict=True)
        for item in cut_views(record, [box] * 3, tmp_path, config)
    ]
    writer = MaskWriter(labeler, config)
    crops = torch.from_numpy(np.stack([view.crop for item in items for view in item.views]))
    boxes = torch.tensor([item.annotation.box_xyxy for item in items for _ in item.views])
    sights = [writer.see(crops[i : i + 4], boxes[i : i + 4]) for i in range(0, len(crops), 4)]
    logits, _, features = (torch.cat(values).numpy() for values in zip(*sights, strict=True))
    seen = [Seen(logits=one, features=own) for one, own in zip(logits, features, strict=True)]
    expected = [
        to_label(draw_mask(item, seen[3 * index : 3 * index + 3], config), writer.quality)
        for index, item in enumerate(items)
    ]
    labels = list(writer.label(iter(items)))
    assert [label.rle for label in labels] == [label.rle for label in expected]
    assert [label.score for label in labels] == pytest.approx(
        [label.score for label in expected], abs=1e-3
    )


def test_labels_that_the_disk_changed_before_they_were_collected_are_not_written(
    tmp_path, small_batches, monkeypatch
):
    source = write_coco(tmp_path)
    read = LabelJournal.read

    def after_damage(journal: LabelJournal):
        for path in journal.folder.iterdir():
            path.write_bytes(path.read_bytes().replace(b'"score": 0', b'"score": 1'))
        return read(journal)

    monkeypatch.setattr(LabelJournal, "read", after_damage)
    with pytest.raises(LabelingError) as caught:
        label(tmp_path, source, mask_threshold=0.01)
    assert str(caught.value) == (
        f"{tmp_path / 'labels' / JOURNAL}: 5 labels changed on the disk after they were written. "
        "Is the disk sound? The same command labels them again."
    )
    monkeypatch.undo()
    assert label(tmp_path, source, mask_threshold=0.01).num_masks == 5


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_shards_hold_every_batch_once_in_order_with_about_equal_boxes(count):
    work = LabelWork(crowded_dataset(num_images=100))
    parts = [work.shard(index, count) for index in range(count)]
    assert [batch for part in parts for batch in part] == list(work.batches)
    sizes = [work.num_boxes(part) for part in parts]
    largest = max(work.num_boxes([batch]) for batch in work.batches)
    assert max(abs(size - sum(sizes) / count) for size in sizes) <= largest


def test_more_shards_than_batches_leave_some_without_work():
    work = LabelWork(crowded_dataset(num_images=12))
    assert sum(bool(work.shard(index, 5)) for index in range(5)) == len(work.batches) == 2


def crowded_dataset(num_images: int) -> BoxDataset:
    """Photos of which every third has no box and the others up to seven."""
    records = [
        ImageRecord(image_id=index, file_name=f"{index}.png", height=9, width=9)
        for index in range(num_images * 3 // 2)
    ]
    boxes = [
        BoxAnnotation(
            annotation_id=10 * record.image_id + number,
            image_id=record.image_id,
            category_id=1,
            box_xyxy=(0.0, 0.0, 5.0, 5.0),
        )
        for record in records
        if record.image_id % 3
        for number in range(1 + record.image_id % 7)
    ]
    return BoxDataset(
        annotations_path=Path("none.json"),
        image_root=Path("none"),
        categories=(),
        images=tuple(records),
        boxes=tuple(boxes),
        skipped=(),
        num_crowds=0,
        num_clipped=0,
    )


def masks(folder: Path) -> dict[int, str]:
    annotations = json.loads((folder / "labels" / "train.json").read_text())["annotations"]
    return {a["id"]: a["segmentation"]["counts"] for a in annotations if not a["iscrowd"]}


def test_the_same_view_twice_changes_nothing_and_another_one_counts(tmp_path):
    source = write_coco(tmp_path)
    for name, expansions in (("one", ()), ("same", (0.6,)), ("two", (0.1,))):
        label(tmp_path / name, source, extra_expansions=expansions)

    assert masks(tmp_path / "same") == masks(tmp_path / "one")
    assert masks(tmp_path / "two") != masks(tmp_path / "one")


def test_refined_masks_follow_the_colors_and_stay_in_their_boxes(tmp_path):
    source = write_coco(tmp_path)
    label(tmp_path / "plain", source)
    label(tmp_path / "refined", source, refinement=RefinementConfig(enabled=True))

    assert masks(tmp_path / "refined") != masks(tmp_path / "plain")
    content = json.loads((tmp_path / "refined" / "labels" / "train.json").read_text())
    for annotation in content["annotations"]:
        if annotation["iscrowd"]:
            continue
        x, y, w, h = annotation["bbox"]
        mask = coco_mask.decode(annotation["segmentation"])
        mask[int(y) : int(np.ceil(y + h)), int(x) : int(np.ceil(x + w))] = 0
        assert not mask.any()


def test_the_flip_test_of_a_mirrored_crop_is_the_mirrored_result():
    """Spec S13."""
    torch.manual_seed(0)
    config = tiny_mal(flip_test=True, label_network="both")
    labeler, _ = build_labeler(TINY_ENCODER, config)
    writer = MaskWriter(labeler, config)
    crops = torch.randint(0, 255, (2, 64, 64, 3), dtype=torch.uint8)
    boxes = torch.tensor([[0.0, 0, 20, 20], [0, 0, 200, 200]])
    straight, mirrored = writer.logits(crops, boxes), writer.logits(crops.flip(2), boxes)
    torch.testing.assert_close(mirrored, straight.flip(2), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("size", [12, 30, 100, 300])
def test_a_mask_survives_the_way_to_the_logit_grid_and_back(size):
    box = np.array([40.0, 50.0, 40.0 + size, 50.0 + size])
    crop = expand_box(box, fixed_margins(0.6))
    height, width = int(crop[3] - crop[1]), int(crop[2] - crop[0])
    gt_mask = np.zeros((height, width), np.uint8)
    cv2.ellipse(gt_mask, (width // 2, height // 2), (size // 2, size // 3), 20, 0, 360, 1, -1)
    grid = cv2.resize(gt_mask.astype(np.float32), (128, 128), interpolation=cv2.INTER_AREA)
    back = resize_logits((grid - 0.5) * 20, crop) > 0
    iou = (back & (gt_mask > 0)).sum() / (back | (gt_mask > 0)).sum()
    assert iou >= 0.97


def test_a_checkpoint_rebuilds_the_networks_without_any_other_file(tmp_path):
    import dataclasses

    config = tiny_mal()
    labeler, report = build_labeler(TINY_ENCODER, config)
    path = tmp_path / "checkpoint.pth"
    settings = dataclasses.asdict(TINY_ENCODER), dataclasses.asdict(config)
    save_labeler(path, labeler, encoder=settings[0], mal=settings[1], load_report=str(report))
    loaded, loaded_config = load_labeler(path)
    assert loaded_config == config
    image, boxes = torch.randn(2, 3, 64, 64), torch.tensor([[0.0, 0, 9, 9], [0, 0, 99, 99]])
    labeler.eval()
    assert torch.equal(loaded.student(image, boxes), labeler.student(image, boxes))
    assert torch.equal(loaded.teacher(image, boxes), labeler.teacher(image, boxes))


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04broken"])
def test_a_file_that_is_no_checkpoint_is_refused_by_name(tmp_path, content):
    path = tmp_path / "checkpoint.pth"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"checkpoint\.pth"):
        load_labeler(path)
    with pytest.raises(CheckpointError, match="no such file"):
        load_labeler(tmp_path / "absent.pth")
