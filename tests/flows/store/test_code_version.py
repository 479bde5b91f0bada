"""A stage's code version follows what the stage imports, and nothing else."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.store import code_version as module
from flows.store import sources
from flows.store.code_version import closure, code_version, recipe_version
from tests.flows.stand_ins import forget_sources


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small tree of sources in place of ours."""
    package = tmp_path / "mal_core"
    (package / "inner").mkdir(parents=True)
    files = {
        "__init__.py": "",
        "top.py": "from mal_core import direct\nfrom mal_core.inner import deep, VALUE\n",
        "direct.py": "import json\n\ndef call():\n    import mal_core.lazy\n",
        "lazy.py": "from .inner.deep import depth\n",
        "unused.py": "import mal_core.top\n",
        "inner/__init__.py": "VALUE = 1\n",
        "inner/deep.py": "depth = 3\n",
    }
    for name, text in files.items():
        (package / name).write_text(text)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(sources, "KEPT", tmp_path / "kept.json")
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    forget_sources()
    yield package
    forget_sources()


def version() -> str:
    forget_sources()
    return code_version(["mal_core.top"])


def test_closure_follows_direct_lazy_and_relative_imports_only_of_ours(tree: Path) -> None:
    names = {"top", "direct", "lazy", "inner", "inner.deep"}
    assert closure(["mal_core.top"]) == {"mal_core", *(f"mal_core.{name}" for name in names)}


@pytest.mark.parametrize("name", ["top", "direct", "lazy", "inner/__init__", "inner/deep"])
def test_changed_code_of_anything_imported_changes_the_version(tree: Path, name: str) -> None:
    before = version()
    path = tree / f"{name}.py"
    path.write_text(f"{path.read_text()}\nchanged = True\n")
    assert version() != before


def no_parsing(content: bytes) -> None:
    pytest.fail(f"parsed: {content!r}")


def test_what_another_process_found_is_believed_for_the_same_bytes_only(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = version()
    assert set(json.loads((tree.parent / "kept.json").read_text())["sources"]) == closure(
        ["mal_core.top"]
    )
    with monkeypatch.context() as patch:
        patch.setattr(sources, "parse", no_parsing)
        assert version() == before
    kept = (tree / "lazy.py").stat()
    (tree / "lazy.py").write_text("from .inner.deep import Depth\n")
    os.utime(tree / "lazy.py", ns=(kept.st_atime_ns, kept.st_mtime_ns))
    assert version() != before


def test_a_module_that_became_a_package_is_looked_at_again(tree: Path) -> None:
    (tree / "both.py").write_text("from .unused import top\n")
    (tree / "top.py").write_text("import mal_core.both\n")
    assert "mal_core.unused" in closure(["mal_core.top"])
    version()
    (tree / "both").mkdir()
    (tree / "both.py").rename(tree / "both" / "__init__.py")
    forget_sources()
    assert "mal_core.unused" not in closure(["mal_core.top"])


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text[:-20],
        lambda text: text.replace('"reader": "', '"reader": "older '),
        lambda text: text.replace('"tree"', '"trees"'),
        lambda text: "[]",
    ],
)
def test_what_is_damaged_or_of_other_code_is_found_anew(
    tree: Path, spoil: Callable[[str], str]
) -> None:
    before, kept = version(), tree.parent / "kept.json"
    whole = kept.read_text()
    kept.write_text(spoil(whole))
    assert kept.read_text() != whole
    assert version() == before
    assert kept.read_text() == whole


def test_where_nothing_may_be_written_versions_are_the_same(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = version()
    monkeypatch.setattr(sources, "KEPT", tree / "top.py" / "kept.json")
    assert version() == before


def test_imports_for_type_checkers_do_not_count(tree: Path) -> None:
    (tree / "lazy.py").write_text(
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    import mal_core.unused\nelse:\n    import mal_core.inner.deep\n"
    )
    forget_sources()
    found = closure(["mal_core.lazy"])
    assert "mal_core.inner.deep" in found
    assert "mal_core.unused" not in found


def test_unrelated_code_comments_and_layout_do_not_change_it(tree: Path) -> None:
    before = version()
    (tree / "unused.py").write_text("x = 2\n")
    (tree / "inner" / "deep.py").write_text("# three\n\ndepth   =   3\n")
    assert version() == before


def test_version_of_a_package_counts(tree: Path) -> None:
    assert code_version(["mal_core.top"], packages=["pytest"]) != version()


def test_module_alone_counts_without_its_imports(tree: Path) -> None:
    (tree / "lonely.py").write_text("import mal_core.unused\n")
    forget_sources()
    before = code_version(["mal_core.inner"], alone=["mal_core.lonely"])
    (tree / "unused.py").write_text("x = 2\n")
    forget_sources()
    assert code_version(["mal_core.inner"], alone=["mal_core.lonely"]) == before
    (tree / "lonely.py").write_text("x = 3\n")
    forget_sources()
    assert code_version(["mal_core.inner"], alone=["mal_core.lonely"]) != before


def test_recipe_counts_with_all_files_it_inherits_from(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    recipe, middle, root = tmp_path / "a.py", tmp_path / "base" / "m.py", tmp_path / "base" / "r.py"
    recipe.write_text('_base_ = ["base/m.py", "mmdet::_base_/default_runtime.py"]\n')
    middle.write_text('_base_ = "r.py"\n')
    root.write_text("steps = 3\n")
    seen = {recipe_version(recipe)}
    for path in (recipe, middle, root):
        path.write_text(f"{path.read_text()}more = 1\n")
        forget_sources()
        seen.add(recipe_version(recipe))
    assert len(seen) == 4


def test_training_depends_on_what_labels_its_rounds_and_on_nothing_after() -> None:
    training = closure(["mal_core.training.loop", "mal_core.data.coco"])
    assert {"mal_core.training.losses", "mal_core.labeling.work"} <= training
    assert not any(name.startswith(("mal_core.evaluation", "mal_core.report")) for name in training)
