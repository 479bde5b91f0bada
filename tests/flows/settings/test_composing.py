"""Overrides become typed settings, and what is wrong is named in full."""

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from flows.settings import composing, run_config
from mal_core import config as core_config
from mal_core.errors import ConfigError
from mal_core.models.encoder_names import check_encoder_name

CONFIG_CLASSES = [
    kind
    for module in (core_config, run_config)
    for kind in vars(module).values()
    if isinstance(kind, type)
    and dataclasses.is_dataclass(kind)
    and kind.__module__ == module.__name__
]
VALIDATED = [kind for kind in CONFIG_CLASSES if issubclass(kind, core_config.Config)]
FILES = [
    "data.train.images=photos",
    "data.train.annotations=train.json",
    "data.val.images=photos",
    "data.val.annotations=val.json",
]


def refusal(*overrides: str, required: tuple[str, ...] = ()) -> str:
    with pytest.raises(ConfigError) as caught:
        composing.compose(overrides, required=required)
    return str(caught.value)


@pytest.mark.parametrize("kind", sorted(VALIDATED, key=str), ids=lambda kind: kind.__name__)
def test_typo_in_every_config_class_is_refused(kind: type) -> None:
    from pydantic import TypeAdapter, ValidationError

    with pytest.raises(ValidationError) as caught:
        TypeAdapter(kind).validate_python({"a_key_that_nobody_has": 1})
    kinds = {item["loc"]: item["type"] for item in caught.value.errors()}
    assert kinds["a_key_that_nobody_has",] == "unexpected_keyword_argument"


def leaf_keys() -> list[str]:
    keys = composing.known_keys()
    inner = {key.rpartition(".")[0] for key in keys}
    return [key for key in keys if key not in inner]


@pytest.mark.parametrize("key", leaf_keys())
def test_misspelt_key_is_answered_with_the_right_one(key: str) -> None:
    typo = key[:-1] + ("x" if key[-1] != "x" else "y")
    message = refusal(f"{typo}=1")
    assert typo in message
    assert "Did you mean" in message


def test_all_unknown_keys_are_named_together() -> None:
    message = refusal("mal.max_step=1", "dta.train.images=x", "segmenter.max_stepz=2")
    for key in ("mal.max_steps", "data.train.images", "segmenter.max_steps"):
        assert f"Did you mean {key!r}?" in message


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("mal.max_steps=many", "mal.max_steps='many'"),
        ("mal.crop_size=33", "mal.crop_size=33"),
        ("mal.crf.kernel_size=4", "mal.crf.kernel_size=4"),
        ("data.strict=perhaps", "data.strict='perhaps'"),
        ("encoder.stem=wide", "encoder.stem"),
        ("segmenter.max_steps=1.5", "segmenter.max_steps=1.5"),
        ("seed=[1,2]", "seed=[1, 2]"),
        ("mal.precision=fp8", "mal.precision='fp8'"),
        ("segmenter_jobs=0", "segmenter_jobs=0"),
        ("num_nodes=0", "num_nodes=0"),
        ("node_rank=1", "node_rank=1 is not possible with num_nodes=1: wanted 0 to 0"),
        ("num_nodes=2", "num_nodes=2 needs rendezvous=HOST:PORT"),
        ("time_limit_minutes=0", "time_limit_minutes=0"),
        ("node_wait_minutes=-1", "node_wait_minutes=-1"),
        ("seed=-1", "seed=-1 is not possible: wanted 0 to 4294967295"),
        ("segmenter_seeds=[1,4294967296]", "segmenter_seeds=4294967296 is not possible"),
        (
            "mal.max_box_area=inf",
            "mal.max_box_area=inf is not possible: it must be a finite number",
        ),
        ("data.train=5", "data.train=5: "),
        ("data.val=5", "data.val=5: "),
        (
            "data.train={images: null, annotations: a}",
            "mandatory value: data.train.images.",
        ),
        ("data.val.images=photos", "Missing mandatory value: data.val.annotations."),
        ("data.val.annotations=a.json", "Missing mandatory value: data.val.images."),
        ("data.test={images: photos}", "Missing mandatory value: data.test.annotations."),
        ("data.license=\N{COPYRIGHT SIGN}", "odd values are quoted twice: \"KEY='VALUE'\""),
    ],
)
def test_impossible_value_is_refused_with_its_full_key(override: str, named: str) -> None:
    assert named in refusal(override)


def test_machines_that_could_not_work_together_are_refused() -> None:
    two = ("num_nodes=2", "rendezvous=alpha:29500")
    assert composing.compose([*FILES, *two, "node_rank=1"]).node_rank == 1
    assert "wanted 0 to 1" in refusal(*two, "node_rank=2")
    assert "trainings side by side share one machine" in refusal(*two, "segmenter_jobs=2")
    assert "it is 'alpha'" in refusal("num_nodes=2", "rendezvous=alpha")
    assert "it is 'alpha:99999'" in refusal("num_nodes=2", "rendezvous=alpha:99999")


@pytest.mark.parametrize("group", ["data", "encoder", "mal", "experiment"])
def test_unknown_choice_of_a_group_lists_what_exists(group: str) -> None:
    message = refusal(f"{group}=nonesuch")
    assert all(name in message for name in composing.options_of(group))


def test_unknown_segmenter_lists_what_exists() -> None:
    message = refusal("segmenters=[solov2_r81]")
    assert "solov2_r81" in message
    assert "Did you mean 'solov2_r18'?" in message
    assert all(name in message for name in composing.options_of("segmenter"))


def test_missing_files_of_a_split_are_named_together() -> None:
    message = refusal("data.train.images=x", required=composing.files_of("data.train", "data.val"))
    assert "Missing mandatory value: data.train.annotations, data.val.images" in message


def test_a_run_without_validation_needs_no_validation_split() -> None:
    config = composing.compose(FILES[:2], required=composing.files_of("data.train"))
    assert config.data.val is None


def test_relative_paths_start_at_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "w.safetensors").touch()
    monkeypatch.chdir(tmp_path)
    config = composing.compose([*FILES, "encoder.weights=w.safetensors", "workdir=out"])
    assert config.data.train is not None
    assert config.data.train.images == tmp_path / "photos"
    assert config.encoder.weights == tmp_path / "w.safetensors"
    assert config.workdir == tmp_path / "out"


def test_odd_characters_in_paths_stand_for_themselves(tmp_path: Path) -> None:
    folder = tmp_path / "my photos, (2) [x]='y'"
    config = composing.compose([f"data.train.images={folder}", "data.train.annotations=a.json"])
    assert config.data.train is not None
    assert config.data.train.images == folder


def test_absent_weights_are_refused() -> None:
    assert "encoder.weights=" in refusal("encoder.weights=nowhere.pth")
    assert "segmenter.weights=" in refusal("segmenter.weights=nowhere.pth")


def test_changes_reach_every_selected_recipe_and_null_keeps_its_own() -> None:
    chosen = ["segmenters=[solov2_r18,mask2former_swin_cpu]", "segmenter.max_steps=7"]
    plain = composing.compose(chosen[:1])
    changed = composing.compose(chosen)
    assert [recipe.max_steps for recipe in changed.segmenters] == [7, 7]
    assert [recipe.batch_size for recipe in changed.segmenters] == [
        recipe.batch_size for recipe in plain.segmenters
    ]


@pytest.mark.parametrize("name", composing.options_of("segmenter"))
def test_every_recipe_composes_and_has_its_mmdet_config(name: str) -> None:
    from mal_core.jobs.segmenter import resolve_config

    (recipe,) = composing.compose([f"segmenters=[{name}]"]).segmenters
    assert recipe.name == name
    assert resolve_config(recipe.config)


@pytest.mark.parametrize("group", ["encoder", "mal", "experiment"])
def test_every_choice_of_every_group_composes(group: str, tmp_path: Path) -> None:
    weights = tmp_path / "weights.pth"
    weights.touch()
    given = [f"encoder.weights={weights}"] if group == "encoder" else []
    for name in composing.options_of(group):
        composing.compose([f"{group}={name}", *given])


def test_encoder_is_chosen_by_file_and_by_timm_name() -> None:
    assert composing.compose(["encoder=vit_base_mae"]).encoder.name == "vit_base_patch16_224.mae"
    assert composing.compose(["encoder.name=x"]).encoder.name == "x"
    assert composing.compose(["encoder.options.patch_size=8"]).encoder.options == {"patch_size": 8}


def test_the_demo_draws_its_data_and_values_beside_it_win() -> None:
    config = composing.compose(
        ["experiment=demo", "data.scenes.num_train=9"], required=composing.files_of("data.train")
    )
    assert config.data.scenes is not None
    assert config.data.scenes.num_train == 9
    assert composing.compose(["+experiment=demo"]).data.source == "scenes"


def test_store_is_taken_from_override_then_variable_then_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MAL_STORE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert composing.compose([]).store == tmp_path / "mal-pipeline" / "store"
    monkeypatch.setenv("MAL_STORE", str(tmp_path / "s"))
    assert composing.compose([]).store == tmp_path / "s"
    assert composing.compose([f"store={tmp_path}/o"]).store == tmp_path / "o"


def test_sweeps_deletions_and_nonsense_are_refused() -> None:
    assert "mal sweep" in refusal("mal.learning_rate=0.1,0.2")
    assert "cannot be removed" in refusal("~mal")
    assert "no KEY=VALUE" in refusal("whatever")


def test_composing_in_many_threads_gives_each_its_own_values() -> None:
    def compose(seed: int) -> int:
        return composing.compose([f"seed={seed}"]).seed

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(compose, range(12))) == list(range(12))


def test_composed_settings_survive_as_yaml() -> None:
    from omegaconf import OmegaConf

    config = composing.compose(["experiment=demo"])
    again = OmegaConf.to_container(OmegaConf.create(composing.as_yaml(config)))
    assert again == composing.plain(config)


def test_every_encoder_of_the_configuration_is_a_model_of_timm(tmp_path):
    weights = tmp_path / "weights.pth"
    weights.touch()
    for name in composing.options_of("encoder"):
        encoder = composing.compose([f"encoder={name}", f"encoder.weights={weights}"]).encoder
        check_encoder_name(encoder.name)
        assert encoder.weights == weights


def test_an_encoder_that_no_hub_has_asks_for_its_file():
    with pytest.raises(ConfigError, match=r"Missing mandatory value: encoder\.weights"):
        composing.compose(["encoder=mocov3_base"])


def test_any_mmdet_config_is_a_recipe_of_its_own(tmp_path):
    config = tmp_path / "my model.py"
    config.write_text("model = dict()")
    (recipe,) = composing.compose(
        [f"segmenter.config={config}", "segmenter.max_steps=5"]
    ).segmenters
    assert (recipe.name, recipe.config, recipe.max_steps) == ("my-model", config, 5)
    name = "mmdet::solov2/solov2_r101_fpn_ms-3x_coco.py"
    (recipe,) = composing.compose([f"segmenter.config={name}"]).segmenters
    assert (recipe.name, str(recipe.config)) == ("solov2_r101_fpn_ms-3x_coco", name)


@pytest.mark.parametrize("experiment", ["demo", "smoke"])
def test_files_beside_drawn_scenes_are_refused_and_not_ignored(experiment: str) -> None:
    given = ["data.train.images=photos", "data.train.annotations=boxes.json"]
    with pytest.raises(ConfigError, match=r"^data\.train\.images, .*Add data=coco"):
        composing.compose([f"experiment={experiment}", *given])
    config = composing.compose([f"experiment={experiment}", "data=coco", *given])
    assert config.data.source == "files"
    assert config.data.train is not None


@pytest.mark.parametrize("key", ["workdir", "output", "data.train.images"])
def test_empty_path_is_not_the_current_folder(key: str) -> None:
    with pytest.raises(ConfigError, match="is empty"):
        composing.compose([*FILES, f"{key}="])


def test_half_a_split_names_the_other_half() -> None:
    with pytest.raises(ConfigError, match=r"value: data\.train\.images"):
        composing.compose(
            ["data.train.annotations=boxes.json"], required=composing.files_of("data.train")
        )


def test_where_the_second_level_of_the_store_is_decides_no_report() -> None:
    from flows.stages.retention import shown_settings

    named = ["file:///mnt/a", "s3://bucket/of/the/same"]
    shown = [
        shown_settings(composing.compose(["experiment=smoke", f"shared_store={url}"]))
        for url in named
    ]
    assert shown[0] == shown[1] == shown_settings(composing.compose(["experiment=smoke"]))
