"""Frozen settings of every stage, validated at birth; the defaults live in conf/."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from mal_core.config.roles import (
    Data,
    Labeling,
    Operation,
    Reporting,
    Role,
    Segmenting,
    Training,
)
from mal_core.config.typed import Config as Config
from mal_core.config.typed import require
from mal_core.errors import ConfigError

Precision = Literal["fp32", "bf16", "fp16"]
SEEDS = 1 << 32
"""How many seeds there are, from 0: those that all libraries take."""
AnnotationFormat = Literal["coco", "lvis", "objects365", "voc", "yolo", "yolo_obb", "dota", "ytvis"]


@dataclass(frozen=True, kw_only=True)
class SplitConfig(Config, key="data.split"):
    """One split: a folder of images and its annotations.

    Attributes:
        images: Folder of the photos.
        annotations: File or folder that describes them.
        format: How they are written; None means as `data.format` says.
    """

    images: Annotated[Path, Role.DATA, Role.PLACE]
    annotations: Annotated[Path, Role.DATA, Role.PLACE]
    format: Data[AnnotationFormat | None] = None


@dataclass(frozen=True, kw_only=True)
class DataConfig(Config, key="data"):
    """Where the data is and how strictly it is judged.

    Attributes:
        train: Boxes of this split train the labeler and are labeled.
        val: Human masks of this split score the segmenters.
        strict: Also refuse what real COCO contains: overhanging boxes of up to
            2 px, zero-size boxes and crowds.
        decode_images: Decode every image in `check`, which finds truncated files;
            off reads headers only.
        max_image_pixels: Larger images are refused; None takes any.
    """

    train: Data[SplitConfig]
    val: Data[SplitConfig]
    strict: Data[bool] = False
    decode_images: Data[bool] = True
    max_image_pixels: Data[int | None] = None


OTHER_WEIGHTS = frozenset(
    ["pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir"]
)
"""Ways of timm's builder to files that no key knows and our reader of weights does not see."""


@dataclass(frozen=True, kw_only=True)
class EncoderConfig(Config, key="encoder"):
    """An encoder of timm: a plain Vision Transformer or a hierarchical model.

    Attributes:
        name: timm model name. Patches of 14 px and the like: crops are resized inside.
        weights: Local file with pretrained weights; no network is needed then.
        pretrained: Load timm's weights from the hub when `weights` is not given.
        stem: "linear" is the patch projection of the pretrained model, "conv" the
            convolutional stem of the reference (random weights); plain transformers only.
        options: Keyword arguments for timm's builder, such as patch_size or depth.
        frozen_stages: Number of leading blocks, or stages of a hierarchical model, that do
            not train, with the stem.
        drop_path: Rate at which residual paths are dropped in training, growing with depth.
        license: Of the weights, where they are a file or it is not what timm states for that name.
    """

    name: Training[str]
    weights: Annotated[Path | None, Role.TRAINING, Role.FILE, Role.NAMED] = None
    pretrained: Training[bool] = False
    stem: Training[Literal["linear", "conv"]] = "linear"
    options: Training[dict[str, Any]] = field(default_factory=dict)
    frozen_stages: Training[int] = 0
    drop_path: Training[float] = 0.0
    license: Reporting[str | None] = None

    def _require_possible(self) -> None:
        require(self.frozen_stages >= 0, "encoder.frozen_stages", self.frozen_stages, ">= 0")
        require(0 <= self.drop_path < 1, "encoder.drop_path", self.drop_path, "in [0, 1)")
        for key in sorted(OTHER_WEIGHTS & set(self.options)):
            message = (
                f"encoder.options.{key} is not possible: weights come by encoder.weights=FILE or "
                "encoder.pretrained=true only."
            )
            raise ConfigError(message)


@dataclass(frozen=True, kw_only=True)
class CrfConfig(Config, key="mal.crf"):
    """Mean-field self-training (spec 4.2).

    Attributes:
        zeta: Width of the colour kernel in normalised units.
        kernel_size: Side of the neighbourhood in pixels, odd.
        iterations: Upper bound of mean-field updates.
        low, high: Clamps of a probability.
        clean_view: Colours come from the teacher's clean view, not the jittered one.
    """

    zeta: Training[float] = 0.1
    kernel_size: Training[int] = 3
    iterations: Training[int] = 100
    low: Training[float] = 0.1
    high: Training[float] = 0.9
    clean_view: Training[bool] = True

    def _require_possible(self) -> None:
        require(self.zeta > 0, "mal.crf.zeta", self.zeta, "> 0")
        odd = self.kernel_size % 2 == 1 and self.kernel_size >= 3
        require(odd, "mal.crf.kernel_size", self.kernel_size, "odd and at least 3")
        require(self.iterations >= 0, "mal.crf.iterations", self.iterations, ">= 0")
        require(0 < self.low < 0.5, "mal.crf.low", self.low, "in (0, 0.5)")
        require(0.5 < self.high < 1, "mal.crf.high", self.high, "in (0.5, 1)")


@dataclass(frozen=True, kw_only=True)
class RefinementConfig(Config, key="mal.refinement"):
    """What a label owes to the colors of its own crop, on top of the network's belief.

    Attributes:
        enabled: Refine; off leaves the network's probabilities as they are.
        network_bound: Largest log-odds of the network: what is beyond could never be outvoted.
        color_weight: Weight of the crop's color model against the network's log-odds.
        color_fits: How often the color model is fitted to the result so far.
        smoothness: Weight of neighbors of similar color.
        iterations: Mean-field updates.
        affinity_weight: Weight of all pixels that look alike, near and far; 0: unheard. Halved
            or dropped for a crop where it empties rows or columns of the box, and never more
            than half where the network is unsure of the crop.
        affinity_reach: Distance at which they count, as a share of the crop's longer side.
        affinity_contrast: Difference of colors at which they count, as a share of the crop's
            own contrast.
        grid: Longer side of the working grid in pixels.
    """

    enabled: Labeling[bool] = False
    network_bound: Labeling[float] = 6.0
    color_weight: Labeling[float] = 1.0
    color_fits: Labeling[int] = 2
    smoothness: Labeling[float] = 0.7
    iterations: Labeling[int] = 10
    affinity_weight: Labeling[float] = 0.0
    affinity_reach: Labeling[float] = 0.2
    affinity_contrast: Labeling[float] = 0.2
    grid: Labeling[int] = 96

    def _require_possible(self) -> None:
        for key in ("color_weight", "smoothness", "color_fits", "iterations", "affinity_weight"):
            require(getattr(self, key) >= 0, f"mal.refinement.{key}", getattr(self, key), ">= 0")
        for key in ("network_bound", "affinity_reach", "affinity_contrast"):
            require(getattr(self, key) > 0, f"mal.refinement.{key}", getattr(self, key), "> 0")
        require(self.grid >= 16, "mal.refinement.grid", self.grid, "at least 16")


@dataclass(frozen=True, kw_only=True)
class SelfTrainingConfig(Config, key="mal.self_training"):
    """Rounds after the training from boxes, each on the labels of the network so far.

    The network writes a mask for every training box, refined by the colors of its crop, and
    learns these masks. What one crop shows badly the others correct: errors that have no
    system cancel. The settings of labeling stand here once more, since they decide weights.

    Attributes:
        rounds: How many; 0 is the paper's method.
        length: Optimiser steps of each round, as a share of max_steps.
        label_crop_size: Side of the crops that are labeled; null: crop_size.
        expansions: Total growth of each crop of a box, as a fraction of the box.
        refinement: How these labels are refined.
    """

    rounds: Training[int] = 0
    length: Training[float] = 0.67
    label_crop_size: Training[int | None] = None
    expansions: Training[tuple[float, ...]] = (0.6,)
    refinement: Training[RefinementConfig] = field(default_factory=RefinementConfig)

    def _require_possible(self) -> None:
        name = "mal.self_training"
        require(self.rounds >= 0, f"{name}.rounds", self.rounds, ">= 0")
        require(self.length > 0, f"{name}.length", self.length, "> 0")
        side = self.label_crop_size or 32
        fits = side >= 32 and side % 32 == 0
        require(fits, f"{name}.label_crop_size", side, "a multiple of 32, at least 32")
        require(len(self.expansions) > 0, f"{name}.expansions", self.expansions, "at least one")
        for expansion in self.expansions:
            require(expansion >= 0, f"{name}.expansions", expansion, ">= 0")


@dataclass(frozen=True, kw_only=True)
class MalConfig(Config, key="mal"):
    """Phase 1: the network's heads, its training and how it labels.

    Attributes:
        crop_size: Side S of a crop in pixels; logits have S/4.
        head_channels: Width of the instance and the pixel head.
        head_convs: Convolutions of the pixel head.
        scale_adjustment: Resize features by box size before the pixel head (spec 3.3).
        min_box_area, max_box_area: Boxes trained on, px^2, half-open interval.
        box_expansion: Upper bound of the random crop expansion (theta of the paper).
        test_expansion: Total growth of a crop at labeling, as a fraction of the box.
        label_crop_size: Side of a crop at labeling; null: crop_size. Larger crops give the
            encoder more tokens, at the price of time.
        extra_expansions: Further crops of each box at labeling, averaged with the first.
        max_steps: Optimiser steps.
        batch_size: Crops per process and forward pass.
        learning_rate: Peak rate for one process without accumulation; see scale_learning_rate.
        weight_decay: AdamW's decay of every trained tensor, norms and biases too, as in
            the reference.
        head_rate: Learning rate of the two heads relative to the encoder's.
        teacher_momentum: Share of the teacher's weights that stays in each step.
        gradient_clip: Largest norm of a step's gradient; None: as it is.
        mil_weight, crf_weight: Loss weights at full strength.
        mil_warmup, crf_warmup: Fractions of max_steps over which they ramp up.
        warmup: Fraction of max_steps of linear learning-rate warm-up.
        final_rate: Learning rate at the end, relative to the peak.
        num_processes: Processes that train together, on all machines of the run; the
            batch of a step has batch_size crops from each. As a setting: per machine.
        accumulate_steps: Batches whose gradients make one step.
        scale_learning_rate: Multiply the rate by processes and accumulation, as the batch.
        activation_checkpointing: Compute the encoder's activations twice instead of
            keeping them: less memory, more time.
        compile: Compile the networks with torch.compile; needs a C++ compiler.
        trackers: Where curves go besides scalars.jsonl: tensorboard, mlflow, wandb.
        checkpoint_every: Steps between resumable checkpoints.
        precision: Autocast type.
        num_workers: Processes that prepare crops.
        mask_threshold: Probability above which a pixel belongs to the mask.
        mask_thresholds: One threshold each for small, medium and large boxes instead.
        drop_fragments: Parts of a mask below this share of its largest part are dropped; 0: none.
        fill_holes: Holes below this share of a mask are filled; 0: none.
        tighten: Boxes that cut their object off grow where the network is sure of it, by up to a
            quarter, before they are labeled; masks may reach beyond the given box then.
        settle_overlaps: What two masks of a photo claim goes to the one whose colors it has.
        label_network: Which network writes the labels.
        flip_test: Average the logits of a crop and of its mirror image.
        label_batch_size: Crops per forward pass when labeling.
        label_precision: Of the network when labeling; auto: bf16 on a GPU that has it, else fp32.
        guide: A COCO file with masks of another labeler for the training boxes, by annotation id:
            the rounds of self-training learn them as far as the network and the box agree. In a
            run also the name of that labeler: its masks are drawn first.
        compat_official: Reproduce the quirks of the reference implementation that change
            numbers (spec section 10), for comparison only; without rounds of self-training.
    """

    crop_size: Training[int]
    batch_size: Training[int]
    max_steps: Training[int]
    learning_rate: Training[float]
    head_channels: Training[int] = 256
    head_convs: Training[int] = 4
    scale_adjustment: Training[bool] = True
    min_box_area: Training[float] = 0.0
    max_box_area: Training[float] = 1e10
    box_expansion: Training[float] = 1.2
    test_expansion: Labeling[float] = 0.6
    label_crop_size: Labeling[int | None] = None
    extra_expansions: Labeling[tuple[float, ...]] = ()
    head_rate: Training[float] = 1.0
    weight_decay: Training[float] = 5e-4
    warmup: Training[float] = 0.1
    final_rate: Training[float] = 0.2
    teacher_momentum: Training[float] = 0.996
    mil_weight: Training[float] = 4.0
    crf_weight: Training[float] = 0.5
    mil_warmup: Training[float] = 0.01
    crf_warmup: Training[float] = 0.05
    gradient_clip: Training[float | None] = None
    precision: Training[Precision] = "fp32"
    num_workers: Operation[int] = 1
    num_processes: Training[int] = 1
    accumulate_steps: Training[int] = 1
    scale_learning_rate: Training[bool] = True
    activation_checkpointing: Training[bool] = False
    compile: Training[bool] = False
    trackers: Operation[tuple[Literal["tensorboard", "mlflow", "wandb"], ...]] = ("tensorboard",)
    checkpoint_every: Operation[int] = 100
    mask_threshold: Labeling[float] = 0.5
    mask_thresholds: Labeling[tuple[float, float, float] | None] = None
    drop_fragments: Labeling[float] = 0.0
    tighten: Labeling[bool] = False
    fill_holes: Labeling[float] = 0.0
    settle_overlaps: Labeling[bool] = False
    label_network: Labeling[Literal["student", "teacher", "both"]] = "student"
    flip_test: Labeling[bool] = False
    label_batch_size: Labeling[int] = 16
    label_precision: Labeling[Literal["auto", "fp32", "bf16"]] = "auto"
    guide: Annotated[Path | None, Role.TRAINING, Role.FILE, Role.NAMED] = None
    compat_official: Training[bool] = False
    crf: Training[CrfConfig] = field(default_factory=CrfConfig)
    refinement: Labeling[RefinementConfig] = field(default_factory=RefinementConfig)
    self_training: Training[SelfTrainingConfig] = field(default_factory=SelfTrainingConfig)

    @property
    def total_steps(self) -> int:
        """Optimiser steps of the training from boxes and of all rounds after it."""
        return self.max_steps + self.self_training.rounds * self.round_steps

    @property
    def round_steps(self) -> int:
        """Optimiser steps of a round of self-training."""
        return max(1, round(self.self_training.length * self.max_steps))

    def _require_possible(self) -> None:
        counts = ("batch_size", "max_steps", "checkpoint_every", "label_batch_size")
        for key in (*counts, "num_processes", "accumulate_steps"):
            require(getattr(self, key) >= 1, f"mal.{key}", getattr(self, key), "at least 1")
        for key in ("crop_size", "label_crop_size"):
            side = getattr(self, key) or self.crop_size
            fits = side >= 32 and side % 32 == 0
            require(fits, f"mal.{key}", side, "a multiple of 32, at least 32")
        for key in ("learning_rate", "head_rate"):
            require(getattr(self, key) > 0, f"mal.{key}", getattr(self, key), "> 0")
        require(0 < self.mask_threshold < 1, "mal.mask_threshold", self.mask_threshold, "in (0, 1)")
        for cut in self.mask_thresholds or ():
            require(0 < cut < 1, "mal.mask_thresholds", cut, "three numbers in (0, 1)")
        shares = ("warmup", "mil_warmup", "crf_warmup", "final_rate", "teacher_momentum")
        for key in (*shares, "drop_fragments", "fill_holes"):
            require(0 <= getattr(self, key) <= 1, f"mal.{key}", getattr(self, key), "in [0, 1]")
        for key in ("box_expansion", "test_expansion", "num_workers", "min_box_area"):
            require(getattr(self, key) >= 0, f"mal.{key}", getattr(self, key), ">= 0")
        for expansion in self.extra_expansions:
            require(expansion >= 0, "mal.extra_expansions", expansion, ">= 0")
        ordered = self.min_box_area < self.max_box_area
        require(ordered, "mal.max_box_area", self.max_box_area, "larger than mal.min_box_area")
        self._require_rounds()

    def _require_rounds(self) -> None:
        rounds, name = self.self_training.rounds, "mal.self_training.rounds"
        fits = not (self.compat_official and rounds)
        require(fits, name, rounds, "0 with mal.compat_official=true")
        fits = self.guide is None or rounds > 0
        require(fits, name, rounds, "at least 1 with mal.guide, whose masks a round learns")


@dataclass(frozen=True, kw_only=True)
class SegmenterConfig(Config, key="segmenter"):
    """Phase 2: one segmenter recipe; null means the recipe's own value.

    Attributes:
        num_processes: Processes that train together, on all machines of the run, each with its
            own batches. As a setting: per machine.
        options: Changes to any other place of the mmdet config, nested as that is.
        label_weights: How much each label's mask counts in the loss: "none": all alike, "score": in
            proportion to its score, "threshold": not at all below `label_threshold`. Classes
            and boxes count in full; trainings on human masks know no weights.
        label_threshold: Least score of a mask that counts, with label_weights=threshold.
        published_ap: Mask AP in [0, 1] that others report for this recipe on human masks of
            its dataset; used where `human_arm=published` asks for it.
    """

    name: Segmenting[str]
    config: Annotated[Path, Role.SEGMENTING, Role.PLACE, Role.NAMED]
    max_steps: Segmenting[int | None] = None
    batch_size: Segmenting[int | None] = None
    image_size: Segmenting[int | None] = None
    learning_rate: Segmenting[float | None] = None
    num_workers: Operation[int] = 1
    num_processes: Segmenting[int] = 1
    weights: Annotated[str | None, Role.SEGMENTING, Role.PLACE, Role.NAMED] = None
    amp: Segmenting[bool] = False
    options: Segmenting[dict[str, Any]] = field(default_factory=dict)
    label_weights: Segmenting[Literal["none", "score", "threshold"]] = "none"
    label_threshold: Segmenting[float] = 0.5
    published_ap: Reporting[float | None] = None

    def _require_possible(self) -> None:
        least = self.label_threshold
        require(0 <= least <= 1, "segmenter.label_threshold", least, "in [0, 1]")
        ap = self.published_ap
        known = ap is None or 0 < ap <= 1
        require(known, "segmenter.published_ap", ap, "above 0 and at most 1 (37.5 % is 0.375)")
