"""Names of encoders, known without importing timm."""

import subprocess
import sys

import pytest
import timm

from mal_core.errors import ConfigError
from mal_core.models.encoder_names import check_encoder_name, defined_models


def test_the_sources_define_exactly_what_timm_lists() -> None:
    assert defined_models() == set(timm.list_models())


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "vit_base_patch16_224.mae"])
def test_models_with_and_without_a_tag_are_accepted(name: str) -> None:
    check_encoder_name(name)


def test_old_names_that_timm_only_translates_are_accepted() -> None:
    name = "vit_base_resnet50_384"
    assert name not in defined_models()
    assert timm.is_model(name)
    check_encoder_name(name)


def test_unknown_name_is_refused_with_similar_ones() -> None:
    with pytest.raises(ConfigError, match=r"'vit_tny_patch16_224' is no .*vit_tiny_patch16_224"):
        check_encoder_name("vit_tny_patch16_224")


def test_a_run_that_only_opens_the_store_imports_neither_torch_nor_matplotlib(tmp_path) -> None:
    program = (
        "import sys\n"
        "from flows import pipeline\n"
        "from flows.stages import graph, session\n"
        "with session.joined() as opened:\n"
        "    graph.begin(opened.run(sys.argv[1:]))\n"
        "print([name for name in ('torch', 'timm', 'matplotlib') if name in sys.modules])"
    )
    places = [f"workdir={tmp_path / 'work'}", f"store={tmp_path / 'store'}"]
    done = subprocess.run(
        [sys.executable, "-c", program, "experiment=demo", *places],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "[]\n"
