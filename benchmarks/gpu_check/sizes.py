"""How large each part works: the paper's sizes, or toys that run on a CPU in minutes."""

from dataclasses import dataclass
from typing import Any

from mal_core.config import EncoderConfig, MalConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Sizes:
    """Everything that differs between the real check and the toy.

    Attributes:
        steps: Timed training steps of phase 1, after `warm_up` others.
        compared: Crops and steps whose losses are compared with the CPU's.
        recipes: Phase 2: recipe, batch size, image side in px (None: its own), mixed precision.
        segmenter_steps: Steps of each of these trainings.
        train_steps: Of the labeler that is interrupted and continued.
        train_settings: Others of its settings, beside those of `experiment=smoke`.
    """

    encoder: EncoderConfig
    mal: dict[str, Any]
    steps: int
    warm_up: int
    compared: tuple[int, int]
    photos: int
    matmul_side: int
    recipes: tuple[tuple[str, int, int | None, bool], ...]
    segmenter_steps: int
    scene_side: int
    train_steps: int
    train_settings: tuple[str, ...] = ()

    def config(self, **changes: Any) -> MalConfig:
        """Phase 1 with some settings changed."""
        return MalConfig(**{**self.mal, **changes})


FULL = Sizes(
    encoder=EncoderConfig(name="vit_base_patch16_224", pretrained=False),
    mal={"crop_size": 512, "batch_size": 32, "max_steps": 270000, "learning_rate": 4.8e-5},
    steps=20,
    warm_up=5,
    compared=(4, 3),
    photos=96,
    matmul_side=8192,
    recipes=(("solov2_r50", 8, None, True), ("mask2former_swin_s", 4, None, True)),
    segmenter_steps=30,
    scene_side=640,
    train_steps=400,
)

TOY = Sizes(
    encoder=EncoderConfig(
        name="vit_tiny_patch16_224",
        pretrained=False,
        options={"embed_dim": 48, "depth": 2, "num_heads": 3},
    ),
    mal={
        "crop_size": 64,
        "batch_size": 2,
        "max_steps": 100,
        "learning_rate": 1e-4,
        "head_channels": 16,
        "head_convs": 1,
    },
    steps=2,
    warm_up=1,
    compared=(2, 2),
    photos=2,
    matmul_side=128,
    recipes=(("solov2_r18", 2, 96, False),),
    segmenter_steps=4,
    scene_side=96,
    train_steps=64,
    train_settings=("mal.batch_size=2", "mal.head_channels=16", "mal.head_convs=1"),
)
