"""Which labels come first, and why they are said to be suspected."""

import json

import numpy as np
import pytest

from mal_core.formats.exports.labeled import read_labeled
from mal_core.quality.score import default_model
from mal_core.review.queue import expected_losses, review_queue, score_problems, without_scores
from mal_core.review.reasons import NO_REASON, WORDS, reasons_for
from tests.mal_core.review.reviewed import MASKS, write_labels


def test_every_component_of_the_library_has_words():
    names = {*default_model("labels").names, *default_model("masks").names}
    assert names == WORDS.keys()


def test_the_worst_come_first_and_size_and_class_decide_between_equals():
    equal, one = np.full(4, 0.5), np.full(4, 100.0)
    assert np.argsort(-expected_losses(np.array([0.9, 0.1, 0.5, 0.7]), one, [1] * 4))[0] == 1
    assert np.argmax(expected_losses(equal, np.array([9, 100, 400, 1e4]), [1] * 4)) == 3
    assert np.argmax(expected_losses(equal, one, [1, 1, 1, 2])) == 3
    # A mask that is expected to be clearly worse goes first, whatever its size and class.
    losses = expected_losses(np.array([0.2, 0.6]), np.array([16.0, 1e6]), [1, 2])
    assert losses[0] > losses[1]
    assert len(expected_losses(np.zeros(0), np.zeros(0), [])) == 0


def test_masks_of_humans_are_no_suspects(tmp_path):
    files = write_labels(tmp_path)
    content = files.content()
    objects = [entry for entry in content["annotations"] if not entry["iscrowd"]]
    objects[0]["source"] = "human"
    files.rewrite(content)
    queue = review_queue(read_labeled(files.annotations))
    assert len(queue) == MASKS - 1
    assert objects[0]["id"] not in {one.labeled.id for one in queue}
    assert [one.loss for one in queue] == sorted((one.loss for one in queue), reverse=True)


def test_the_reasons_are_what_pulls_a_score_down():
    model = default_model("masks")
    usual = dict(zip(model.names, model.means, strict=True))
    assert reasons_for(usual) == (NO_REASON,)
    first, *_ = reasons_for({**usual, "claimed": 1.0})
    assert first == "other boxes cover the mask (claimed 1.00)"
    first, *_ = reasons_for({**usual, "contrast": 0.0, "size": 0.0})
    assert first == "object and surroundings have the same colors (contrast 0.00)"
    assert reasons_for({**usual, "narrow": 0.0}) == (NO_REASON,)  # a square box is none
    assert len(reasons_for(dict.fromkeys(model.names, 0.0))) <= 3
    assert reasons_for({}) == (NO_REASON,)


@pytest.mark.parametrize("score", [1.5, "high", True, None])
def test_scores_that_are_none_are_named(score, tmp_path):
    files = write_labels(tmp_path)
    content = files.content()
    content["annotations"][0]["score"] = score
    files.rewrite(content)
    (problem,) = score_problems(read_labeled(files.annotations))
    assert problem.startswith(f"annotation {content['annotations'][0]['id']} has score=")


def test_labels_that_do_not_say_what_their_score_is_made_from_are_found(tmp_path):
    files = write_labels(tmp_path)
    content = files.content()
    first, _, third = content["annotations"][:3]
    del first["score"]
    third["score_components"] = {"fill": "much"}
    files.rewrite(json.loads(json.dumps(content)))
    assert without_scores(read_labeled(files.annotations)) == (first["id"], third["id"])
