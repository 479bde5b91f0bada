"""Names of YOLO's classes: they stay as written, or their file and line are told."""

import os

import pytest

from mal_core.formats.class_names import NamesError, class_names, names_notes


@pytest.mark.parametrize(
    ("name", "text", "names"),
    [
        ("data.yaml", "names: [no, yes, 1, ~, 1.0]", ["no", "yes", "1", "~", "1.0"]),
        ("data.yaml", "names: {0: off, '1': 0x10}", ["off", "0x10"]),
        ("fruits.yaml", "path: .\nnames:\n  0: ' apple '\n  1: pear", ["apple", "pear"]),
        ("coco.names", " cat \r\ndog\r\n\r\n", ["cat", "dog"]),
        ("data.yaml", "nc: 2\nnames: [!!str no, !!int 1]", ["no", "1"]),
        ("classes.txt", "\ufeffcat\ndog", ["cat", "dog"]),
    ],
)
def test_class_names_stay_as_written(name, text, names, tmp_path):
    (tmp_path / name).write_bytes(text.encode())
    (tmp_path / "hyp.yaml").write_text("lr0: 0.01\n")
    assert class_names(tmp_path) == names


BOMB = "a: &a [x]\n" + "".join(
    f"{k}: &{k} [{f'*{p},' * 9}]\n" for p, k in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("classes.txt", "cat\n\ndog\n", "classes.txt, line 2: no name, but each class needs one."),
        (
            "data.yaml",
            "names:\n- cat\n- 'cat '\n",
            "data.yaml, line 3: 'cat' is the name of class 0 already.",
        ),
        (
            "data.yaml",
            f"{BOMB}names: *i\n",
            "data.yaml: `names` must list the classes, or map 0, 1, ... to them.",
        ),
        (
            "data.yaml",
            "names: {0: a, 2: b}",
            "data.yaml: `names` has no class 1, but numbers go from 0 without gaps. Add a name for "
            "each.",
        ),
        ("data.yaml", "- cat", "data.yaml: no YAML mapping."),
        (
            "data.yaml",
            "nc: 3\nnames: [cat, dog]",
            "data.yaml: `nc` is '3', but `names` has 2. Correct one.",
        ),
        (
            "data.yaml",
            "names: !!python/object/apply:os.system [touch x]",
            "data.yaml: `names` has the tag 'tag:yaml.org,2002:python/object/apply:os.system', but "
            "class names are plain text.",
        ),
        (
            "data.yaml",
            "names: [cat, !x dog]",
            "data.yaml: `names` has the tag '!x', but class names are plain text.",
        ),
        (
            "data.yaml",
            "kpt_shape: [17, 3]\nnames: [person]",
            "data.yaml: `kpt_shape`: labels are poses. Give rows of boxes or polygons.",
        ),
        (
            "data.yaml",
            "names: " + "[" * 300_000,
            "data.yaml: has 300007 characters, which class names do not need.",
        ),
        ("classes.txt", "", "classes.txt: no class names in it."),
    ],
)
def test_class_names_that_are_none_are_refused(name, text, said, tmp_path):
    (tmp_path / name).write_text(text)
    with pytest.raises(NamesError) as caught:
        class_names(tmp_path)
    assert str(caught.value) == f"{tmp_path}/{said}"


def test_deep_yaml_ends_in_a_sentence(tmp_path):
    (tmp_path / "data.yaml").write_text("names: " + "[" * 5000)
    with pytest.raises(NamesError, match=r"data\.yaml: no YAML mapping: "):
        class_names(tmp_path)


@pytest.mark.parametrize("name", ["classes.txt", "data.yaml"])
def test_a_pipe_in_place_of_class_names_is_refused_not_waited_for(name, tmp_path):
    os.mkfifo(tmp_path / name)
    with pytest.raises(NamesError) as caught:
        class_names(tmp_path)
    assert str(caught.value) == f"{tmp_path / name}: is no regular file. Give a file."


@pytest.mark.parametrize(
    ("first", "second", "names"),
    [("cat\ndog\n", "dog\ncat\n", None), ("cat\ndog\n", "cat\n\ndog\n", ["cat", "dog"])],
)
def test_usual_files_of_one_folder_that_disagree_are_refused(first, second, names, tmp_path):
    (tmp_path / "data.yaml").write_text(f"names: [{', '.join(first.split())}]")
    (tmp_path / "classes.txt").write_text(second)
    if names is not None:  # the second is broken, and nobody asked it
        assert class_names(tmp_path) == names
        return
    with pytest.raises(NamesError) as caught:
        class_names(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}: data.yaml and classes.txt name other classes. Take the wrong one away."
    )


@pytest.mark.parametrize(
    ("below", "above", "noted"),
    [
        ("dog\nperson\n", "names: [cat, dog]", True),
        ("cat\ndog\nperson\n", "names: [cat, dog]", False),
        ("cat\n", "names: [cat, dog]", False),
        ("cat\ndog\n", "nothing: 1", False),
    ],
)
def test_names_beside_the_labels_that_differ_from_those_above_are_noted(
    below, above, noted, tmp_path
):
    labels = tmp_path / "labels"
    labels.mkdir()
    (labels / "classes.txt").write_text(below)
    (tmp_path / "data.yaml").write_text(above)
    note = (
        f"{tmp_path / 'data.yaml'} names other classes than {labels / 'classes.txt'}, whose names "
        "are taken."
    )
    assert list(names_notes(labels, class_names(labels))) == [note] * noted


@pytest.mark.parametrize(
    ("names", "noted"),
    [
        (["0: cat", "1: dog"], True),
        (["0 cat", "1 dog"], True),
        (["0", "1"], False),
        (["1 cat", "2 dog"], False),
        (["0: cat", "dog"], False),
        (["0 cat"], False),
    ],
)
def test_names_that_begin_with_their_numbers_are_noted(names, noted, tmp_path):
    (tmp_path / "classes.txt").write_text("\n".join(names))
    note = (
        f"names of classes begin with their numbers, such as {names[0]!r}: they stay as they are "
        "written. If those are no part of the names, take them out."
    )
    assert list(names_notes(tmp_path, class_names(tmp_path))) == [note] * noted
