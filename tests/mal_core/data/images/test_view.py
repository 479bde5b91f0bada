"""Views: links under the annotations' names, made once and mended."""

from pathlib import Path

from mal_core.data.images.view import build_view, source_of


def photos(tmp_path: Path) -> Path:
    root = tmp_path / "photos"
    (root / "sub").mkdir(parents=True)
    for name in ("a.jpg", "sub/b.jpg", "stray.jpg"):
        (root / name).write_text(name)
    return root


def test_a_view_has_every_listed_image_under_its_own_name(tmp_path: Path) -> None:
    root, view = photos(tmp_path), tmp_path / "view"
    (tmp_path / "new").write_text("turned")
    replaced = {"a.jpg": tmp_path / "new", "sub\\b.jpg": root / "sub" / "b.jpg"}
    names = ["a.jpg", "sub\\b.jpg", "sub/b.jpg", "absent.jpg", "../photos/a.jpg", "/x", "\0"]
    build_view(view, root, names, replaced)
    found = {str(path.relative_to(view)) for path in view.rglob("*") if path.is_file()}
    assert found == {"a.jpg", "sub\\b.jpg", "sub/b.jpg"}
    assert (view / "a.jpg").read_text() == "turned"
    assert (view / "sub\\b.jpg").read_text() == "sub/b.jpg"
    assert source_of(view) == root
    assert source_of(root) == root


def test_links_that_are_gone_or_wrong_are_made_again_and_others_stay(tmp_path: Path) -> None:
    root, view = photos(tmp_path), tmp_path / "view"
    names = ["a.jpg", "sub/b.jpg"]
    build_view(view, root, names, {})
    before = (view / "a.jpg").lstat().st_ino
    (view / "sub" / "b.jpg").unlink()
    (view / "sub" / "b.jpg").symlink_to("/nowhere")
    build_view(view, root, names, {})
    assert (view / "sub" / "b.jpg").read_text() == "sub/b.jpg"
    assert (view / "a.jpg").lstat().st_ino == before
