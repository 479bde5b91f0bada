"""One run of the pipeline: its settings, its store, and digests of what it reads."""

import copy
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from flows.lifetime.interruption import stop_if_asked
from flows.settings.run_config import Inputs, RunConfig
from flows.store.local import StageKey, Store, Stored
from flows.store.shared import SharedStore, connect
from mal_core.config import SplitConfig
from mal_core.errors import DatasetError
from mal_core.processes.files import sha256_json
from mal_core.types import ImageRecord

if TYPE_CHECKING:  # it needs pycocotools
    from mal_core.data.view import CocoView

VIEWS_KEPT = 6

ShardRunner = Callable[[RunConfig, Sequence[Path]], None]
"""Labels shards, given as paths of their job files; returns when all are done."""


@dataclass(frozen=True, kw_only=True)
class SplitDigests:
    """Digests of an annotation file and of all images it names."""

    annotations: str
    images: str


@dataclass(frozen=True, kw_only=True)
class ImagesDigest:
    """Digest of images by name and content.

    Attributes:
        missing: Some are absent, or no files; each has its own mark in the digest.
    """

    sha256: str
    missing: bool


class Run:
    """Settings and store of one run, and what its stages gave so far.

    Args:
        config: All settings.
        force: Names of stages to compute again although their output is stored.
        store: In place of the one that the settings name.
        shard_runner: Labels in shards as the settings say; None knows threads only.

    Attributes:
        inputs: The splits in normal form, once a stage has asked for them.
        numbered: Files in which `origin` is ours and says where an entry came from.

    Raises:
        ArtifactError: The store or the shared store cannot be used.
    """

    def __init__(
        self,
        config: RunConfig,
        *,
        force: Sequence[str] = (),
        store: Store | None = None,
        shard_runner: ShardRunner | None = None,
    ) -> None:
        self.config = config
        self.store = store or Store(config.store, shared=_shared(config.shared_store))
        self.shard_runner = shard_runner
        self._force = set(force)
        self._stored: dict[str, Stored] = {}
        self.inputs: Inputs | None = None
        self.numbered: set[Path] = set()
        self._digests: dict[SplitConfig, SplitDigests] = {}
        self._images: dict[tuple[Path, tuple[str, ...]], ImagesDigest] = {}

    def force(self, stages: Iterable[str]) -> None:
        """Compute these stages again, once, although their output is stored."""
        self._force.update(stages)

    def forces(self, stage: str) -> bool:
        """Whether a stage is to be computed again."""
        return stage in self._force

    def beside(self, config: RunConfig, *, force: Sequence[str] = ()) -> "Run":
        """A run of other settings on the same data, with all that this one has found so far.

        Args:
            config: Its settings.
            force: As of a new run.
        """
        other = copy.copy(self)
        other.config, other._force = config, set(force)
        return other

    def get(self, key: StageKey, work: Callable[[Path], None], *, title: str = "") -> Stored:
        """The output for a key; verified or computed once per run."""
        stop_if_asked()
        known = self._stored.get(key.digest)
        if known is None:
            force = key.stage in self._force
            known = self.store.get(key, work, force=force, title=title)
            self._stored[key.digest] = known
        return known

    def digests(self, split: SplitConfig) -> SplitDigests:
        """Digests of a split's files, looked up once per run; an absent image has its own mark.

        Raises:
            DatasetError: The annotation file is absent or wrong.
        """
        if split not in self._digests:
            view = self.view(split.annotations)
            if view.problems:
                raise DatasetError(split.annotations, view.all_problems)
            self._digests[split] = SplitDigests(
                annotations=str(self.store.digests.digest(split.annotations)),
                images=self.images_digest(split.images, view.images).sha256,
            )
        return self._digests[split]

    def images_digest(self, folder: Path, listed: Sequence[ImageRecord]) -> ImagesDigest:
        """Digest of the images that a file lists, looked up once per run."""
        names = tuple(sorted({image.file_name for image in listed}))
        key = folder, names
        if key not in self._images:
            digests = self.store.digests.digests(folder / name for name in names)
            found = [[name, digests[folder / name]] for name in names]
            self._images[key] = ImagesDigest(
                sha256=sha256_json(found), missing=None in digests.values()
            )
        return self._images[key]

    def view(self, annotations: Path) -> "CocoView":
        """A COCO file, read once while its content stays the same.

        Raises:
            DatasetError: The file is absent or no COCO file.
        """
        from mal_core.data.view import read_view

        data, digest = self.config.data, self.store.digests.digest(annotations)
        origins = annotations in self.numbered
        read = partial(read_view, annotations, strict=data.strict, origins=origins)
        if digest is None:
            return read()
        key = annotations, digest, data.strict, origins
        if key not in _views:
            _views[key] = read()
        _views.move_to_end(key)
        while len(_views) > VIEWS_KEPT:
            _views.popitem(last=False)
        return _views[key]


def _shared(url: str | None) -> SharedStore | None:
    return None if url is None else connect(url)


_views: "OrderedDict[tuple[Path, str, bool, bool], CocoView]" = OrderedDict()
"""Files that this process has read: stages and runs look at each other's many times."""
