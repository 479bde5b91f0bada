"""Settings of who draws the masks: our own network, a foundation model, or no network at all."""

import functools
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from mal_core.config.roles import Labeling, Of, Role, settings_of
from mal_core.config.typed import Config, require
from mal_core.errors import ConfigError

LabelerName = Literal[
    "mal", "sam", "sam2", "sam3", "hq_sam", "box", "ellipse", "grabcut", "ensemble"
]
FOUNDATIONS = ("sam", "sam2", "sam3", "hq_sam")
"""Labelers that need weights which somebody else has trained."""
UNTRAINED = ("box", "ellipse", "grabcut", *FOUNDATIONS)
"""Labelers that draw at once, without a training on the user's boxes."""
OF_FOUNDATIONS, OF_GRABCUT, OF_ENSEMBLE = Of(FOUNDATIONS), Of(("grabcut",)), Of(("ensemble",))


@dataclass(frozen=True, kw_only=True)
class MemberConfig(Config, key="labeler"):
    """One labeler; our own network draws as `mal` says and reads nothing here.

    Attributes:
        name: Which one.
        weights: Of a foundation model: its name on the hub (`facebook/sam2.1-hiera-tiny`), a
            folder with config.json and model.safetensors, or that file.
        cut_to_box: Masks lose what lies outside of their boxes.
        best_of_three: Let the model draw three masks of each box and take the one it rates
            highest; off, it draws one, which is better for boxes.
        precision: Of the image encoder; auto: bf16 on a GPU that has it, else fp32.
        boxes_per_pass: Boxes of a photo that go through the mask decoder together.
        iterations: Of GrabCut.
        surroundings: Growth of the crop in which GrabCut learns what is not the object, as a
            share of the box; 2.0 doubles it.
    """

    name: Labeling[LabelerName] = "mal"
    weights: Labeling[str | None] = None
    cut_to_box: Annotated[bool, Role.LABELING, OF_FOUNDATIONS] = True
    best_of_three: Annotated[bool, Role.LABELING, OF_FOUNDATIONS] = False
    precision: Annotated[Literal["auto", "fp32", "bf16"], Role.LABELING, OF_FOUNDATIONS] = "auto"
    boxes_per_pass: Annotated[int, Role.LABELING, OF_FOUNDATIONS] = 32
    iterations: Annotated[int, Role.LABELING, OF_GRABCUT] = 5
    surroundings: Annotated[float, Role.LABELING, OF_GRABCUT] = 2.0

    def _require_possible(self) -> None:
        for key in ("boxes_per_pass", "iterations"):
            require(getattr(self, key) >= 1, f"{self.key}.{key}", getattr(self, key), "at least 1")
        require(self.surroundings > 0, f"{self.key}.surroundings", self.surroundings, "> 0")
        if self.weights is not None and self.name not in FOUNDATIONS:
            message = (
                f"{self.key}.weights={self.weights} is not possible with {self.asked}, which "
                f"takes none; those of {', '.join(FOUNDATIONS)} do."
            )
            raise ConfigError(message)
        if self.weights is None and self.name in FOUNDATIONS:
            message = (
                f"{self.asked} needs {self.key}.weights=...: a name on the hub, or a folder "
                "with config.json and model.safetensors."
            )
            raise ConfigError(message)
        self._require_heeded()

    def _require_heeded(self) -> None:
        """Refuse what this labeler would do nothing with."""
        for key, (default, names) in _of_single_labelers(cast("Hashable", type(self))).items():
            value = getattr(self, key)
            if value != default and self.name not in names:
                others = f"{', '.join(names)} {'does' if len(names) == 1 else 'do'}"
                message = (
                    f"{self.key}.{key}={value} is not possible with {self.asked}, which does "
                    f"nothing with it; {others}. Leave it out."
                )
                raise ConfigError(message)

    @property
    def asked(self) -> str:
        """How a user asks for it."""
        return f"labeler={self.name}"

    @property
    def is_trained(self) -> bool:
        """Whether it draws with a network that phase 1 trains on boxes."""
        return self.name == "mal"


@functools.cache
def _of_single_labelers(kind: Any) -> Mapping[str, tuple[Any, tuple[str, ...]]]:
    """Settings that not every labeler heeds: their default, and who does."""
    defaults = {one.name: one.default for one in fields(kind)}
    found = settings_of(kind)
    return {one.key: (defaults[one.key], one.labelers) for one in found if one.labelers is not None}


def called(labelers: Sequence[MemberConfig]) -> list[str]:
    """What each is called: by its name, and with its weights or its number where two have it."""
    counts = Counter(labeler.name for labeler in labelers)
    numbers: Counter[str] = Counter()
    found = []
    for labeler in labelers:
        numbers[labeler.name] += 1
        suffix = Path(labeler.weights).name if labeler.weights else str(numbers[labeler.name])
        found.append(labeler.name if counts[labeler.name] == 1 else f"{labeler.name} {suffix}")
    repeated = Counter(found)
    return [
        name if repeated[name] == 1 else f"{name} ({place})"
        for place, name in enumerate(found, start=1)
    ]


@dataclass(frozen=True, kw_only=True)
class LabelerConfig(MemberConfig):
    """Who draws the masks of a run: one labeler, or several that are heard together.

    Attributes:
        members: Of an ensemble: its labelers, each with its own settings. On the command line
            a name stands for that labeler's defaults.
        mode: Of an ensemble. agree: every pixel goes by the votes of all members, which count
            by the scores of their masks; choose: each box gets the mask with the best score.
        leader: The member that the others must beat, as a bake-off calls it: `grabcut`, or
            `sam2 sam2.1-hiera-large` where there are two; null: the one whose masks score best
            on a sample of the boxes.
        per_class: Find a leader for each class that has enough boxes.
    """

    members: Labeling[tuple[MemberConfig, ...]] = ()
    mode: Annotated[Literal["agree", "choose"], Role.LABELING, OF_ENSEMBLE] = "agree"
    leader: Labeling[str | None] = None
    per_class: Annotated[bool, Role.LABELING, OF_ENSEMBLE] = False

    def _require_possible(self) -> None:
        super()._require_possible()
        names = [member.name for member in self.members]
        if self.name != "ensemble":
            if self.members or self.leader is not None:
                message = (
                    f"{self.key}.members and {self.key}.leader are of an ensemble, but "
                    f"{self.asked} draws."
                )
                raise ConfigError(message)
            return
        if len(names) < 2 or "ensemble" in names:
            message = (
                f"{self.key}.members={names}: wanted two or more labelers, such as "
                f"{self.key}.members=[grabcut,ellipse], and no ensemble among them."
            )
            raise ConfigError(message)
        if names.count("mal") > 1:
            message = f"{self.key}.members: a run has one network, so mal can be a member once."
            raise ConfigError(message)
        twice = [one.name for n, one in enumerate(self.members) if one in self.members[:n]]
        if twice:
            message = (
                f"{self.key}.members: {twice[0]} is there twice with the same settings, which "
                "would count its vote twice. Leave one out, or change one's settings."
            )
            raise ConfigError(message)
        if self.leader is not None and self.leader not in called(self.members):
            members = ", ".join(called(self.members))
            message = f"{self.key}.leader={self.leader}: wanted one of the members: {members}."
            raise ConfigError(message)

    @property
    def is_trained(self) -> bool:
        """Whether a network that phase 1 trains on boxes draws, alone or with others."""
        return self.name == "mal" or any(member.is_trained for member in self.members)

    @property
    def drawn_by(self) -> tuple[MemberConfig, ...]:
        """The labelers that draw: the members, or itself."""
        return self.members or (self,)


@dataclass(frozen=True, kw_only=True)
class GuideConfig(LabelerConfig, key="guide"):
    """Who draws masks of the training boxes for our own network to learn from, untrained itself.

    Attributes:
        name: Which one, as `mal.guide` says.
    """

    name: Labeling[LabelerName] = field()

    def _require_possible(self) -> None:
        if self.is_trained:
            message = (
                f"{self.asked}: a guide draws without a training on your boxes. Wanted one of "
                f"{', '.join(UNTRAINED)}; or ensemble, with guide.members=[grabcut,ellipse] or "
                "others of these; or a file of masks."
            )
            raise ConfigError(message)
        super()._require_possible()

    @property
    def asked(self) -> str:
        """How a user asks for it."""
        return f"mal.guide={self.name}"
