"""Settings of who draws the masks: our own network, a foundation model, or no network at all."""

from dataclasses import dataclass, field
from typing import Literal

from mal_core.config.roles import Labeling
from mal_core.config.typed import Config, require
from mal_core.errors import ConfigError

LabelerName = Literal[
    "mal", "sam", "sam2", "sam3", "hq_sam", "box", "ellipse", "grabcut", "ensemble"
]
FOUNDATIONS = ("sam", "sam2", "sam3", "hq_sam")
"""Labelers that need weights which somebody else has trained."""
UNTRAINED = ("box", "ellipse", "grabcut", *FOUNDATIONS)
"""Labelers that draw at once, without a training on the user's boxes."""


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
    cut_to_box: Labeling[bool] = True
    best_of_three: Labeling[bool] = False
    precision: Labeling[Literal["auto", "fp32", "bf16"]] = "auto"
    boxes_per_pass: Labeling[int] = 32
    iterations: Labeling[int] = 5
    surroundings: Labeling[float] = 2.0

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

    @property
    def asked(self) -> str:
        """How a user asks for it."""
        return f"labeler={self.name}"

    @property
    def is_trained(self) -> bool:
        """Whether it draws with a network that phase 1 trains on boxes."""
        return self.name == "mal"


@dataclass(frozen=True, kw_only=True)
class LabelerConfig(MemberConfig):
    """Who draws the masks of a run: one labeler, or several that are heard together.

    Attributes:
        members: Of an ensemble: its labelers, each with its own settings. On the command line
            a name stands for that labeler's defaults.
        mode: Of an ensemble. agree: every pixel goes by the votes of all members, which count
            by the scores of their masks; choose: each box gets the mask with the best score.
        leader: The member that the others must beat; null: the one whose masks score best on
            a sample of the boxes.
        per_class: Find a leader for each class that has enough boxes.
    """

    members: Labeling[tuple[MemberConfig, ...]] = ()
    mode: Labeling[Literal["agree", "choose"]] = "agree"
    leader: Labeling[LabelerName | None] = None
    per_class: Labeling[bool] = False

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
        if self.leader is not None and names.count(self.leader) != 1:
            message = f"{self.key}.leader={self.leader}: wanted one of the members {names}."
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
