"""Means over objects, classes, sizes and COCO's two groups."""

import json

import pytest

from mal_core.evaluation.agreement import Agreement
from mal_core.evaluation.label_metrics import STUFF, Clustering, label_metrics
from mal_core.report.label_tables import metrics_text

THINGS = tuple(f"thing {number}" for number in range(69))


def seen(category: str, iou: float, size: int = 1, labeled: bool = True) -> Agreement:
    return Agreement(
        annotation_id=0,
        category=category,
        size=size,
        mask_iou=iou,
        boundary_iou=iou / 2,
        labeled=labeled,
    )


def test_perfect_labels_have_one_everywhere():
    """Spec S17."""
    names = [*THINGS, *sorted(STUFF)]
    metrics = label_metrics([seen(name, 1.0, i % 3) for i, name in enumerate(names)], names)
    for means in (metrics.mask_iou, metrics.class_iou):
        assert [means.all, means.small, means.medium, means.large] == [1, 1, 1, 1]
    assert metrics.groups == {"things": 1, "stuff": 1}


@pytest.mark.parametrize(("wrong", "spared"), [("bus", "things"), ("thing 3", "stuff")])
def test_one_wrong_class_lowers_its_own_group_only(wrong, spared):
    """Spec S17, guards Q4: the reference is off by one class here."""
    names = [*THINGS, *sorted(STUFF)]
    metrics = label_metrics([seen(name, float(name != wrong)) for name in names], names)
    assert metrics.groups is not None
    assert metrics.groups[spared] == 1
    (lowered,) = metrics.groups.keys() - {spared}
    assert metrics.groups[lowered] == pytest.approx(1 - 1 / (11 if lowered == "stuff" else 69))
    assert [one.name for one in metrics.classes if one.mask_iou < 1] == [wrong]


def test_a_frequent_class_weighs_like_a_rare_one_in_the_class_mean():
    objects = [*(seen("many", 0.5) for _ in range(9)), seen("one", 1.0)]
    metrics = label_metrics(objects, ["many", "one"])
    assert metrics.mask_iou.all == pytest.approx(0.55)
    assert metrics.class_iou.all == pytest.approx(0.75)
    assert metrics.boundary_iou.all == pytest.approx(0.275)
    assert metrics.groups is None


def test_sizes_without_objects_are_undefined():
    metrics = label_metrics([seen("a", 0.25, size=2), seen("a", 0.75, size=2)], ["a"])
    assert (metrics.mask_iou.small, metrics.class_iou.medium) == (None, None)
    assert metrics.mask_iou.large == 0.5


def test_the_text_and_the_json_say_the_same():
    names = [*THINGS, *sorted(STUFF)]
    objects = [seen("bus", 0.25), seen("thing 1", 0.0, labeled=False), seen("thing 2", 0.5, 0)]
    metrics = label_metrics(objects, names)
    text = metrics_text(metrics)
    assert "3 objects with a human mask, 1 of them unlabeled" in text
    assert "things 0.250, stuff 0.250" in text
    assert [line.split()[0] for line in text.splitlines()[1:4]] == ["thing", "bus", "thing"]
    content = json.loads(json.dumps(metrics.to_json()))
    assert content["mask_iou"] == {"all": 0.25, "small": 0.5, "medium": 0.125, "large": None}
    assert content["classes"][0] == {
        "name": "thing 2",
        "objects": 1,
        "mask_iou": 0.5,
        "boundary_iou": 0.25,
    }
    assert content["clustering"] is None


def test_the_clustering_score_is_shown_where_it_was_measured():
    import dataclasses

    metrics = label_metrics([seen("a", 1.0)], ["a"])
    with_score = dataclasses.replace(metrics, clustering=Clustering(score=0.75, objects=12))
    assert "clustering score 0.750 over 12 objects" in metrics_text(with_score)
