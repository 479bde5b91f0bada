"""More boxes of the same work: repeated photos and boxes keep together, under ids of their own."""

from collections import Counter

from benchmarks.growth import again


def test_repeated_boxes_stay_on_their_photos_until_there_are_enough():
    content = {
        "images": [
            {"id": 4, "file_name": "a.jpg", "width": 9, "height": 9},
            {"id": 2, "file_name": "empty.jpg", "width": 9, "height": 9},
            {"id": 7, "file_name": "b.png", "width": 5, "height": 6},
        ],
        "annotations": [
            {"id": 30, "image_id": 4, "bbox": [0, 0, 1, 1]},
            {"id": 31, "image_id": 7, "bbox": [1, 1, 2, 2]},
            {"id": 32, "image_id": 4, "bbox": [2, 2, 3, 3]},
        ],
        "categories": [{"id": 1, "name": "x"}],
    }
    grown = again(content, 8)
    assert [one["id"] for one in grown["annotations"]] == list(range(1, 9))
    assert grown["categories"] == content["categories"]
    source = {image["id"]: image["source"] for image in grown["images"]}
    assert len({image["file_name"] for image in grown["images"]}) == len(source) == 5
    boxes = Counter((source[one["image_id"]], one["bbox"][0]) for one in grown["annotations"])
    assert boxes == {("a.jpg", 0): 3, ("b.png", 1): 2, ("a.jpg", 2): 3}
    assert [image["width"] for image in grown["images"]] == [9, 5, 9, 5, 9]
