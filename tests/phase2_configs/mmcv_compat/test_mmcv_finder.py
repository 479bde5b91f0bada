"""How mmcv finds its ops in any interpreter of the environment."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest


def run_python(code: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, check=False
    )


def test_a_fresh_interpreter_imports_mmdet_from_any_directory(tmp_path: Path) -> None:
    result = run_python(
        "import mmdet, mmcv.ops as ops, mmcv._ext as ext; print(ext.__spec__.origin)"
        "; print(ops.get_compiler_version())",
        tmp_path,
    )
    assert result.returncode == 0, result.stderr
    origin = result.stdout.splitlines()[0]
    assert origin == "torchvision kernels" or origin.endswith(".so")


def test_an_interpreter_starts_without_importing_torch(tmp_path: Path) -> None:
    result = run_python(
        "import sys; print([n for n in ('torch', 'mmcv', 'numpy') if n in sys.modules])"
        "; print(sys.meta_path[-1].__name__)",
        tmp_path,
    )
    assert result.stdout.splitlines() == ["[]", "TorchvisionOpsFinder"]


def test_a_real_extension_beside_mmcv_wins_over_the_stand_in(tmp_path: Path) -> None:
    (tmp_path / "_ext.py").write_text("ORIGIN = 'the real one'\n")
    result = run_python(
        f"import mmcv; mmcv.__path__.insert(0, {str(tmp_path)!r})"
        "; import mmcv._ext; print(mmcv._ext.ORIGIN)",
        tmp_path,
    )
    assert result.stdout == "the real one\n", result.stderr


@pytest.mark.slow
def test_the_training_tool_that_mmdet_ships_starts_unmodified(tmp_path: Path) -> None:
    spec = importlib.util.find_spec("mmdet")
    assert spec is not None
    assert spec.origin is not None
    tool = Path(spec.origin).parent / ".mim" / "tools" / "train.py"
    result = subprocess.run(
        [sys.executable, str(tool), "--help"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert "Train a detector" in result.stdout


@pytest.mark.parametrize(("version", "left_out"), [("5.24.0", True), ("4.57.1", False)])
def test_mmpretrains_language_models_stay_out_beside_a_transformers_too_new_for_them(
    version: str, left_out: bool, tmp_path: Path
) -> None:
    info = tmp_path / f"transformers-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: transformers\nVersion: {version}\n"
    )
    result = run_python(
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})"
        "; import phase2_configs.mmcv_compat.mmcv_finder as finder"
        "; print(finder.MultimodalFinder.find_spec(finder.MULTIMODAL) is not None)",
        tmp_path,
    )
    assert result.stdout.strip() == str(left_out), result.stderr


def test_what_trains_segmenters_imports_no_language_models(tmp_path: Path) -> None:
    """They cost a fifth of a child's start; whoever else wants them still finds them."""
    (tmp_path / "transformers.py").write_text("HERE = True\n")
    (tmp_path / "mmdet.py").write_text(
        "try:\n    import transformers\nexcept ImportError:\n    transformers = None\n"
    )
    result = run_python(
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import phase2_configs.runner, mmdet"
        "; print(mmdet.transformers); import transformers; print(transformers.HERE)",
        tmp_path,
    )
    assert result.stdout.splitlines() == ["None", "True"], result.stderr
