"""In the children of phase 2 every way to a file of weights leads to the one reader."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mal_core.config import SegmenterConfig, SplitConfig
from mal_core.errors import CheckpointError, ConfigError
from mal_core.jobs.segmenter import INPUT_IS_WRONG, JOB_FILE, SegmenterJob, read_run
from mal_core.models.safe_weights import WANTED
from mal_core.processes.child_errors import read_failure
from mal_core.processes.children import child_environment
from tests.malicious import write_checkpoint
from tests.phase2_configs.conftest import DrawnSet
from tests.phase2_configs.jobs import write_job

pytestmark = pytest.mark.slow

CODE = f"is refused: to open it is to call posix.mkdir, which is code and no weights. Nothing of it was run. {WANTED}"  # noqa: E501

WAYS = """
import json, os, sys
from pathlib import Path
from phase2_configs.runner import plain_weights
plain_weights.install()
import mmengine, timm, torch
from mmengine.runner import CheckpointLoader, load_checkpoint
from mmengine.runner.checkpoint import _load_checkpoint_with_prefix
from mmengine.utils.dl_utils import load_url
from timm.models import load_checkpoint as timm_load
from tests.malicious import bare_pickle, write_checkpoint

folder = Path(sys.argv[1])
mark, evil = folder / "ran", str(folder / "evil.pth")
write_checkpoint(Path(evil), mark, {"state_dict": {"a": torch.zeros(1)}})
os.environ.update(TORCH_HOME=str(folder), MMENGINE_HOME=str(folder))
cached = folder / "checkpoints"
torch.hub.set_dir(str(folder))
import shutil
cached.mkdir()
for name in ("resnet50-0676ba61.pth", "evil.pth", "zoo.pth"):
    shutil.copy(evil, cached / name)
names = {"mine": "evil.pth", "web": "https://x.example/zoo.pth"}
(folder / "open_mmlab.json").write_text(json.dumps(names))
(folder / "evil.pkl").write_bytes(bare_pickle(mark, 4))
(folder / "evil.yaml").write_text(f"a: !!python/object/apply:os.mkdir ['{mark}']")
shutil.copy(evil, folder / "evil")
layer = torch.nn.Linear(1, 1)
from_url = torch.hub.load_state_dict_from_url
load = CheckpointLoader.load_checkpoint
ways = {
    "a path": lambda: load(evil),
    "a path to a model": lambda: load_checkpoint(layer, evil),
    "the part of a model": lambda: _load_checkpoint_with_prefix("a", evil),
    "http": lambda: load("https://x.example/evil.pth"),
    "torchvision": lambda: load("torchvision://resnet50"),
    "open-mmlab, a file": lambda: load("open-mmlab://mine"),
    "openmmlab, a file": lambda: load("openmmlab://mine"),
    "open-mmlab, a URL": lambda: load("open-mmlab://web"),
    "mmengine's load_url": lambda: load_url("https://x.example/evil.pth"),
    "torch's hub": lambda: from_url("https://x.example/evil.pth", weights_only=False),
    "timm": lambda: timm_load(layer, evil, weights_only=False),
    "torch, told to unpickle": lambda: torch.load(evil, weights_only=False),
    "an open file": lambda: torch.serialization.load(open(evil, "rb"), weights_only=False),
    "mmengine's pickles": lambda: mmengine.load(str(folder / "evil.pkl")),
    "mmengine's YAML": lambda: mmengine.load(str(folder / "evil.yaml")),
}
found = {}
for name, way in ways.items():
    try:
        way()
        found[name] = "loaded"
    except Exception as error:
        found[name] = f"{type(error).__name__}: {error}".splitlines()[0]
    if mark.exists():
        found[name] = "RAN"
        mark.rmdir()
print("@", json.dumps(found))
"""


def run_python(code: str, *arguments: Path) -> dict[str, Any]:
    """What a child printed last, as JSON."""
    return last_json(run_child(code, *arguments))


def run_child(code: str, *arguments: Path) -> subprocess.CompletedProcess[str]:
    """A child that must end well."""
    result = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        # As of a user who once needed it: it must not count.
        env={**child_environment(), "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": ""},
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result


def last_json(result: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """What it printed for us."""
    line = next(line for line in result.stdout.splitlines() if line.startswith("@ "))
    return dict(json.loads(line[2:]))


def test_no_way_of_mmengine_timm_or_torch_runs_what_a_file_names(tmp_path: Path) -> None:
    found = run_python(WAYS, tmp_path)
    ours = {name: words for name, words in found.items() if "YAML" not in name}
    pickles = ours.pop("mmengine's pickles")
    assert len(ours) == 13
    for name, words in ours.items():
        assert words.startswith(f"CheckpointError: weights file {tmp_path}"), (name, words)
        assert words.endswith(CODE), (name, words)
    assert pickles == (
        "ConfigError: pickle files are not opened, they can run code. Give JSON instead."
    )
    assert found["mmengine's YAML"].startswith("ConstructorError")


ZOO = """
import json, sys
from pathlib import Path
import numpy as np
import torch
from mmengine.config import ConfigDict
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.runner import save_checkpoint
from mmengine.runner.checkpoint import CheckpointLoader, load_checkpoint
from phase2_configs.runner import plain_weights

path = str(Path(sys.argv[1]) / "zoo.pth")
layer = torch.nn.Linear(2, 2)
optimizer = torch.optim.AdamW(layer.parameters())
layer(torch.ones(1, 2)).sum().backward()
optimizer.step()
hub = MessageHub.get_instance("zoo")
hub.update_scalar("train/loss", np.float64(2.0))
hub.update_scalar("train/loss", 1.0)
hub.update_info("iter", np.int64(12))
meta = {"epoch": 12, "cfg": "model = dict()", "CLASSES": ("a", "b"), "PALETTE": [(1, 2, 3)],
        "dataset_meta": {"palette": np.arange(6).reshape(2, 3)},
        "hook_msgs": {"best": np.float32(0.5)},
        "args": ConfigDict(a=dict(b=1))}
save_checkpoint({"meta": meta, "state_dict": layer.state_dict(),
                 "optimizer": optimizer.state_dict(), "param_schedulers": [{"last_step": 12}],
                 "message_hub": hub.state_dict()}, path)
plain_weights.install()
for _ in range(2):  # what was read can be saved and read again
    content = CheckpointLoader.load_checkpoint(path, map_location="cpu")
    save_checkpoint(content, path)
new = torch.nn.Linear(2, 2)
load_checkpoint(new, path)
optimizer.load_state_dict(content["optimizer"])
again = MessageHub.get_instance("again")
again.load_state_dict(content["message_hub"])
loss = again.get_scalar("train/loss")
loss.update(4.0)
print("@", json.dumps({
    "same": bool(torch.equal(new.weight, layer.weight)), "mean": float(loss.mean()),
    "max": float(loss.statistics("max")), "kind": type(loss) is HistoryBuffer,
    "iter": int(again.get_info("iter")), "best": float(content["meta"]["hook_msgs"]["best"]),
    "palette": content["meta"]["dataset_meta"]["palette"].tolist(), "args": content["meta"]["args"],
}))
"""


def test_a_checkpoint_in_the_layout_of_mmdets_zoo_is_read_whole(tmp_path: Path) -> None:
    found = run_python(ZOO, tmp_path)
    assert found == {
        "same": True,
        "mean": pytest.approx(7 / 3),
        "max": 4.0,
        "kind": True,
        "iter": 12,
        "best": 0.5,
        "palette": [[0, 1, 2], [3, 4, 5]],
        "args": {"a": {"b": 1}},
    }


CONFIGS = {
    "syntax": ("model = dict(", "SyntaxError: '(' was never closed (<unknown>, line 1) (line 1)"),
    "an error of its own": ("raise ZeroDivisionError('mine')", "ZeroDivisionError: mine"),
    "half": ("model = dict(type='SOLOv2')", " lacks train_dataloader, "),
}

ONE_AFTER_THE_OTHER = """
import json, sys
from pathlib import Path
from mal_core.jobs.segmenter import PREDICTIONS_FILE
from phase2_configs.runner.train import main
statuses = {}
for path in map(Path, sys.argv[1:]):
    path.with_name(PREDICTIONS_FILE).unlink(missing_ok=True)
    statuses.setdefault(path.parent.name, []).append(main([str(path)]))
print("@", json.dumps(statuses))
"""


@dataclass(frozen=True)
class Ended:
    """Folder of jobs that one child did, the exit statuses of each, and what it printed."""

    folder: Path
    statuses: dict[str, list[int]]
    printed: str


@pytest.fixture(scope="module")
def ended(drawn: DrawnSet, tmp_path_factory: pytest.TempPathFactory) -> Ended:
    """A job to resume from code, jobs without a readable config, and a sound one, done twice."""
    folder = tmp_path_factory.mktemp("ended")

    def write(name: str, config: str | Path = "phase2_configs/solov2_r18.py") -> Path:
        recipe = SegmenterConfig(
            name="solov2_r18",
            config=Path(config),
            max_steps=1,
            batch_size=2,
            image_size=96,
            num_workers=0,
        )
        train, val = (
            SplitConfig(images=drawn.images, annotations=one) for one in (drawn.human, drawn.val)
        )
        return write_job(SegmenterJob(recipe=recipe, train=train, val=val), folder / name)

    jobs = [write("malicious")]
    write_checkpoint(folder / "malicious" / "iter_1.pth", folder / "ran")
    for name, (text, _) in CONFIGS.items():
        config = folder / f"{name}.py"
        config.write_text(text)
        jobs.append(write(name, config))
    sound = write("sound")
    result = run_child(ONE_AFTER_THE_OTHER, *jobs, sound, sound)
    return Ended(folder, last_json(result), result.stdout + result.stderr)


def test_a_checkpoint_that_a_training_would_resume_is_refused_in_one_sentence(
    ended: Ended,
) -> None:
    error = read_failure(ended.folder / "malicious" / JOB_FILE)
    assert isinstance(error, CheckpointError)
    path = ended.folder / "malicious" / "iter_1.pth"
    assert str(error) == f"weights file {path} {CODE}"
    assert ended.statuses["malicious"] == [INPUT_IS_WRONG]
    assert not (ended.folder / "ran").exists()
    assert "Traceback" not in ended.printed


def test_one_step_trains_and_its_checkpoint_is_resumed(ended: Ended) -> None:
    """The second time its predictions were lost."""
    assert ended.statuses["sound"] == [0, 0]
    run = read_run("solov2_r18", ended.folder / "sound")
    assert [json.loads(line)["step"] for line in run.scalars.read_text().splitlines()] == [1]
    assert run.predictions.is_file()
    # The malicious one says so as well, before it is refused.
    assert ended.printed.splitlines().count("resuming from iter_1.pth") == 2


def test_a_config_that_cannot_be_read_is_one_sentence(ended: Ended) -> None:
    for name, (_, words) in CONFIGS.items():
        assert ended.statuses[name] == [INPUT_IS_WRONG]
        error = read_failure(ended.folder / name / JOB_FILE)
        assert isinstance(error, ConfigError)
        assert str(error).startswith(f"segmenter.config={ended.folder / name}.py")
        assert words in str(error)
        assert "\n" not in str(error)
