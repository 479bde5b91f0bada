"""What each setting is for, said at its field: whoever treats settings by kind asks here.

A field has exactly one effect, the first stage whose output it decides; `OPERATION` decides
none. A field that names files has one of `PATHS` besides.
"""

import dataclasses
import enum
import types
import typing
from collections.abc import Iterator
from typing import Annotated, Any, TypeVar


class Role(enum.Enum):
    """What a setting decides, and what kind of value it has.

    Attributes:
        DATA: Which images and boxes there are, and how they are read.
        TRAINING: The weights of the labeler.
        LABELING: The labels, not those weights: a label job chooses it anew.
        SEGMENTING: The trainings of phase 2.
        REPORTING: The scores and the report alone.
        OPERATION: Where and how the work is done, not what comes out; in no key.
        PLACE: A file or folder; relative ones are taken from the current folder.
        FILE: A place where a file must lie.
        ANNOTATIONS: A place where a file must lie, or a folder for formats made of folders.
        URL: Another address than a path.
        NAMED: A place whose last part a report shows; it shows no other place.
        DRAWN: Files of the user that drawn scenes stand in for.
        PER_MACHINE: May differ between the machines of one run.
    """

    DATA = enum.auto()
    TRAINING = enum.auto()
    LABELING = enum.auto()
    SEGMENTING = enum.auto()
    REPORTING = enum.auto()
    OPERATION = enum.auto()
    PLACE = enum.auto()
    FILE = enum.auto()
    ANNOTATIONS = enum.auto()
    URL = enum.auto()
    NAMED = enum.auto()
    DRAWN = enum.auto()
    PER_MACHINE = enum.auto()


EFFECTS = frozenset(
    (
        Role.DATA,
        Role.TRAINING,
        Role.LABELING,
        Role.SEGMENTING,
        Role.REPORTING,
        Role.OPERATION,
    )
)
PATHS = frozenset((Role.PLACE, Role.FILE, Role.ANNOTATIONS))

Value = TypeVar("Value")
Data = Annotated[Value, Role.DATA]
Training = Annotated[Value, Role.TRAINING]
Labeling = Annotated[Value, Role.LABELING]
Segmenting = Annotated[Value, Role.SEGMENTING]
Reporting = Annotated[Value, Role.REPORTING]
Operation = Annotated[Value, Role.OPERATION]


@dataclasses.dataclass(frozen=True)
class Made:
    """Mark of a file that a stage makes: it may be named by that stage instead of its path.

    Attributes:
        stage: The stage.
        file: Which of its files.
    """

    stage: str
    file: str


@dataclasses.dataclass(frozen=True)
class Heeded:
    """Mark of a setting of single commands: to all others it says nothing.

    Attributes:
        by: Those commands.
    """

    by: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Of:
    """Mark of a setting of single labelers: the others draw the same whatever it is.

    Attributes:
        names: Those labelers.
    """

    names: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setting:
    """One field of a record of settings.

    Attributes:
        key: Its full name, such as mal.crf.zeta.
        roles: As its annotation says.
        kind: Its type, without them.
        record: The record in it, if it is one or may be one.
        records: The record that it is a tuple of.
        made: Which stage makes such a file, if one does.
        heeded: The only commands that heed it; None: it is of stages.
        labelers: The only labelers that heed it; None: it is of all.
    """

    key: str
    roles: frozenset[Role]
    kind: Any
    record: type | None
    records: type | None
    made: Made | None
    heeded: tuple[str, ...] | None
    labelers: tuple[str, ...] | None

    @property
    def is_free(self) -> bool:
        """Whether it takes keys of any name."""
        return typing.get_origin(self.kind) is dict

    @property
    def is_path(self) -> bool:
        """Whether it names files."""
        return bool(self.roles & PATHS)


def settings_of(kind: type, prefix: str = "") -> Iterator[Setting]:
    """The fields of a record of settings, without those of records in it."""
    hints = typing.get_type_hints(kind, include_extras=True)
    for item in dataclasses.fields(kind):
        hint = hints[item.name]
        marks = getattr(hint, "__metadata__", ())
        hint = typing.get_args(hint)[0] if marks else hint
        yield Setting(
            key=f"{prefix}{item.name}",
            roles=frozenset(mark for mark in marks if isinstance(mark, Role)),
            kind=hint,
            record=_record_among(_options(hint)),
            records=_record_among(typing.get_args(hint))
            if typing.get_origin(hint) is tuple
            else None,
            made=next((mark for mark in marks if isinstance(mark, Made)), None),
            heeded=next((mark.by for mark in marks if isinstance(mark, Heeded)), None),
            labelers=next((mark.names for mark in marks if isinstance(mark, Of)), None),
        )


def all_settings(kind: type, prefix: str = "") -> Iterator[Setting]:
    """The fields of a record and, after each, those of the record in it."""
    for setting in settings_of(kind, prefix):
        yield setting
        if setting.record is not None:
            yield from all_settings(setting.record, f"{setting.key}.")


def _options(hint: Any) -> tuple[Any, ...]:
    return typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)


def _record_among(options: tuple[Any, ...]) -> type | None:
    found = [
        option
        for option in options
        if isinstance(option, type) and dataclasses.is_dataclass(option)
    ]
    return found[0] if found else None


def keys_with(kind: type, *roles: Role) -> tuple[str, ...]:
    """Own fields of a record that have one of these roles."""
    return tuple(setting.key for setting in settings_of(kind) if setting.roles & set(roles))


def deciding(record: Any, effect: Role) -> dict[str, Any]:
    """The values of a record that have an effect, as plain data, for a stage's key.

    Files among them are left out: a key has their digests.
    """
    values = dataclasses.asdict(record)
    found = settings_of(type(record))
    return {
        setting.key: values[setting.key]
        for setting in found
        if effect in setting.roles and not setting.is_path
    }
