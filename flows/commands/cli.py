"""The `mal` command: one verb per stage, one for everything, overrides in Hydra's grammar."""

import argparse
import os
import select
import signal
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from types import FrameType
from typing import TextIO

from flows.commands import text_encoding
from flows.lifetime import interruption
from mal_core.errors import (
    NO_SPACE,
    CheckpointError,
    ConfigError,
    DatasetError,
    MalCoreError,
    TimeIsUpError,
    WorkerError,
    lacks_space,
    printable,
)
from mal_core.processes.collector import end_uncollected, uncollected_imports

REFUSED, FAILED, INTERRUPTED = 2, 1, 130
TERMINATED, READER_GONE = 128 + signal.SIGTERM, 128 + signal.SIGPIPE
OUT_OF_TIME = 124
"""As of timeout(1), so that a script of a cluster knows whom to queue again."""
INPUT_ERRORS = (ConfigError, DatasetError, CheckpointError)

DESCRIPTION = """\
From box annotations to instance masks: train a mask auto-labeler on boxes, label every
box, train segmenters on those masks, and report how much of the accuracy of human masks
they keep. `mal VERB --help` has examples."""
EPILOG = """\
start here:
  mal run experiment=demo
  mal run data.train.images=DIR data.train.annotations=FILE \\
          data.val.images=DIR data.val.annotations=FILE workdir=DIR

Stages are cached by content; the same command again reuses what is finished and
continues what was interrupted. Results go to stdout, everything else to stderr.
Exit status: 0 success, 1 failure, 2 bad input or settings,
124 time_limit_minutes is over, 130 interrupted, 141 nobody reads the output any more."""

HELP = {
    "run": "everything: train, label, segment, evaluate, report",
    "sweep": "everything, for each combination of settings",
    "check": "check images and annotations, repair copies of them, train nothing",
    "estimate": "measure each stage for a minute: hours, disk, memory and money of the whole run",
    "verify": "compare a label file or a model with its manifest",
    "train": "phase 1: train the labeler on boxes",
    "label": "write a mask for every box",
    "segment": "phase 2: train segmenters on human masks and on pseudo-labels",
    "evaluate": "score the segmenters and write the retention report, or score a labeled file",
    "score": "score the masks of any labeled file",
    "calibrate": "fit the scores of a labeled file to some human masks",
    "refine": "refine the masks of any labeled file by colors, and by a trained labeler",
    "bake-off": "compare labelers on your boxes without human masks, and say which to take",
    "predict": "predict images without annotations, as result files for COCO's server",
    "export": "write the labeling network as an ONNX file",
    "export-labels": "write the masks for another tool, and count what it cannot say",
    "review": "show the worst masks to people; `mal review import` takes corrections back",
    "report": "render report.html again and print the table",
    "cache": "what the store holds, why a stage would run again, making room",
    "serve": "reports of all runs in a browser, on 127.0.0.1",
    "history": "all evaluations of this store over time, as a table and a page",
}
FILES = "data.train.images=DIR data.train.annotations=FILE"
VAL_FILES = "data.val.images=DIR data.val.annotations=FILE"
EXAMPLES = {
    "run": f"""\
  mal run experiment=demo
  mal run {FILES} {VAL_FILES} workdir=runs/mine
  mal run ... encoder.name=deit_tiny_patch16_224 encoder.weights=FILE mal.max_steps=600
  mal run ... segmenters=[solov2_r18,mask2former_swin_t] segmenter.max_steps=500
  mal run ... seed=1 --force
  mal run ... time_limit_minutes=230       ends before a job of 4 hours does; repeat to continue
  mal run ... num_nodes=2 rendezvous=alpha:29500 node_rank=1
                                           on the second of two machines; node_rank=0 on alpha""",
    "sweep": """\
  mal sweep experiment=demo mal.crf.zeta=0.05,0.1,0.2 seed=0,1 workdir=runs/zeta
                                           six runs, in runs/zeta/zeta=0.05,seed=0 and so on""",
    "check": f"""\
  mal check {FILES}
  mal check {FILES} {VAL_FILES} data.strict=true
  mal check {FILES} --json                 all findings as JSON; output=FILE writes them
  mal check {FILES} {VAL_FILES} fix=true output=DIR
                                           repaired copies and a list of all changes""",
    "estimate": f"""\
  mal estimate {FILES} {VAL_FILES}
  mal estimate ... measure_seconds=20 price_per_hour=1.20""",
    "verify": """\
  mal verify runs/mine/labels/train.json   exit status 1 and all differences, if there are any
  mal verify runs/mine/mal/checkpoint.pth""",
    "train": f"""\
  mal train {FILES} workdir=runs/mine      writes runs/mine/mal/checkpoint.pth
  mal train ... mal.max_steps=2000 mal.crop_size=224 mal.batch_size=8
  mal train ... mal.guide=sam2 guide.weights=DIR
                                           taught by another labeler, too: grabcut, sam, ...
  mal train ... mal.guide=masks.json       or by any file of masks for these boxes""",
    "label": f"""\
  mal label {FILES} workdir=runs/mine      writes runs/mine/labels/train.json
  mal label checkpoint=FILE {FILES} output=masks.json
  mal label checkpoint=FILE {FILES} boxes=detections.json output=masks.json
  mal label labeler=sam2 labeler.weights=DIR {FILES} output=masks.json
                                           others: sam, sam3, hq_sam, grabcut, ellipse, box
  mal label labeler=ensemble "labeler.members=[mal,grabcut]" checkpoint=FILE {FILES}
  mal label data=yolo {FILES}
                                           others: yolo_obb, dota, voc, lvis, objects365, ytvis""",
    "segment": f"""\
  mal segment {FILES} {VAL_FILES} workdir=runs/mine
  mal segment ... segmenters=[solov2_r18] segmenter_jobs=2""",
    "evaluate": f"""\
  mal evaluate {FILES} {VAL_FILES} workdir=runs/mine
  mal evaluate labels=masks.json human=instances.json
  mal evaluate labels=masks.json human=instances.json checkpoint=FILE images=DIR
  mal evaluate data=voc labels=runs/mine/labels/voc human=VOC/Annotations
  mal evaluate data=yolo labels=DIR human=DIR images=DIR     labels/train.json serves, too""",
    "score": """\
  mal score labels=FILE images=DIR output=scored.json          any COCO file with masks
  mal score ... checkpoint=FILE                                asks a labeler about each mask""",
    "calibrate": """\
  mal calibrate labels=masks.json human=some.json output=calibrated.json""",
    "refine": """\
  mal refine pseudo_labels=FILE images=DIR output=refined.json   any COCO file with masks
  mal refine ... checkpoint=FILE                                 also asks a trained labeler""",
    "bake-off": f"""\
  mal bake-off labelers=[mal,grabcut,ellipse] checkpoint=FILE {FILES}
                                           leaves bake_off.html and .json in workdir, or output
  mal bake-off 'labelers=[grabcut,{{name:sam2,weights:DIR}}]' sample=200 {FILES}
  mal bake-off ... human=instances.json    also says how right the ranking was""",
    "predict": f"""\
  mal predict {FILES} {VAL_FILES} workdir=runs/mine \\
              data.test.images=DIR data.test.annotations=image_info_test-dev2017.json""",
    "export": """\
  mal export workdir=runs/mine             writes runs/mine/mal/labeler.onnx
  mal export checkpoint=FILE output=labeler.onnx mal.label_network=teacher""",
    "export-labels": """\
  mal export-labels labels=masks.json format=coco_polygon output=DIR
  mal export-labels workdir=runs/mine format=yolo images=DIR output=DIR
  mal export-labels labels=masks.json format=label_studio output=DIR \\
                    image_url=/data/local-files/?d=photos/
                                           others: coco_rle, lvis, voc, cvat, fiftyone,
                                           datumaro, png""",
    "review": """\
  mal review labels=masks.json images=DIR worst=200 output=DIR
  mal review workdir=runs/mine share=0.05  the page, and tasks for Label Studio and CVAT
  mal review import labels=masks.json corrections=FILE output=corrected.json
                                           FILE: of Label Studio (JSON), of CVAT (XML, COCO),
                                           or decisions.json of the page; one after the other""",
    "report": """\
  mal report workdir=runs/demo""",
    "cache": f"""\
  mal cache ls                             outputs, sizes, when they were last used
  mal cache ls train-segmenter             of one stage
  mal cache why {FILES}
                                           which stages would run, and what has changed
  mal cache rm train-mal/3f2a              by stage, or by the beginning of a key
  mal cache gc days=30 dry_run=true        what was not used for 30 days
  mal cache ls shared=true                 of the shared store; also rm and gc, which there
                                           counts from the upload""",
    "serve": """\
  mal serve                                http://127.0.0.1:4280 until Ctrl-C
  mal serve serve_port=8000""",
    "history": """\
  mal history workdir=runs/mine            writes runs/mine/history.html""",
}
UNFORCED = (
    *("sweep", "check", "report", "serve", "history", "export", "export-labels", "cache"),
    *("score", "calibrate", "estimate", "review", "refine", "bake-off"),
)
CACHE_ACTIONS = ("ls", "why", "rm", "gc")
OVERRIDES_HELP = "settings, as KEY=VALUE (see conf/ for all keys)"


def _version() -> str:
    try:
        return metadata.version("mal-pipeline")
    except metadata.PackageNotFoundError:  # a checkout on PYTHONPATH runs as well
        return "(not installed)"


def build_parser() -> argparse.ArgumentParser:
    """The command line of `mal`."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="mal", description=DESCRIPTION, epilog=EPILOG, formatter_class=formatter
    )
    version = f"mal-pipeline {_version()}"
    parser.add_argument("--version", action="version", version=version)
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for name, text in HELP.items():
        verb = verbs.add_parser(
            name,
            help=text,
            description=text[0].upper() + text[1:] + ".",
            epilog=f"examples:\n{EXAMPLES[name]}",
            formatter_class=formatter,
        )
        if name == "cache":
            verb.add_argument("action", choices=CACHE_ACTIONS)
            verb.add_argument("overrides", nargs="*", metavar="ARGUMENT", help="see the examples")
            continue
        if name == "verify":
            verb.add_argument("file", type=Path, metavar="FILE", help="labels, a model, a manifest")
            continue
        given = "[import] KEY=VALUE" if name == "review" else "KEY=VALUE"
        verb.add_argument("overrides", nargs="*", metavar=given, help=OVERRIDES_HELP)
        if name == "check":
            verb.add_argument("--json", action="store_true", help="print all findings as JSON")
        if name not in UNFORCED:
            note = "compute again what this verb is about"
            verb.add_argument("--force", action="store_true", help=note)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit status, also where nobody reads the end of what it says."""
    try:
        try:
            return _run(arguments)
        finally:
            sys.stdout.flush()  # here, where somebody hears that the reader has left
    except BrokenPipeError:
        _say_no_more()
        return READER_GONE


def _run(arguments: Sequence[str] | None) -> int:
    options = _parsed(list(sys.argv[1:] if arguments is None else arguments))
    signal.signal(signal.SIGTERM, _terminate)
    interruption.listen()
    try:
        text_encoding.require_utf8()
        end_uncollected()
        with uncollected_imports():
            from flows.commands import verbs

        if options.verb == "cache":
            verbs.cache(options.action, options.overrides)
        elif options.verb == "verify":
            verbs.verify(options.file)
        elif options.verb == "check":
            verbs.check(options.overrides, as_json=options.json)
        else:
            force = getattr(options, "force", False)
            verbs.run_verb(options.verb, options.overrides, force=force)
    except KeyboardInterrupt:
        return _say("interrupted; the same command continues where it was", INTERRUPTED)
    except PermissionError as error:
        place = error.filename or "a file"
        return _say(f"{place}: permission denied. Change its permissions.", REFUSED)
    except (MalCoreError, OSError) as error:
        if isinstance(error, BrokenPipeError) and _has_no_reader(sys.stdout):
            raise
        return _say(_sentence(error), exit_status(error))
    return 0


def _parsed(given: list[str]) -> argparse.Namespace:
    # argparse wants options before a list of values; users write them anywhere.
    ordered = given[:1] + sorted(given[1:], key=lambda text: not text.startswith("-"))
    parser = build_parser()
    for text in filter(_is_dashed, ordered[1:]):
        parser.error(f"{text}: settings are KEY=VALUE, without dashes: {text.lstrip('-')}")
    return parser.parse_args(ordered)


def _is_dashed(text: str) -> bool:
    """Whether a setting is written as other programs have their options."""
    key, equals, _ = text.lstrip("-").partition("=")
    return text.startswith("--") and (bool(equals) or "." in key)


def _sentence(error: BaseException) -> str:
    """What to say of an error: of a full disk which one, where the system knows."""
    if isinstance(error, OSError) and lacks_space(error):
        place = error.filename2 or error.filename or "the working folder or the output"
        return f"{place}: {NO_SPACE}"
    return str(error)


def exit_status(error: BaseException) -> int:
    """2 for what the user can correct in files or settings, 124 for lack of time, else 1."""
    if isinstance(error, TimeIsUpError):
        return OUT_OF_TIME
    # A child ends with 2 as well when its input or its settings are to blame.
    blamed = isinstance(error, WorkerError) and error.return_code == REFUSED
    return REFUSED if blamed or isinstance(error, INPUT_ERRORS) else FAILED


def _say(message: str, status: int) -> int:
    sys.stdout.flush()
    sys.stderr.write(f"mal: {printable(message)}\n")
    return status


def _has_no_reader(stream: TextIO) -> bool:
    """Whether it is a pipe, and whoever read it has ended; other pipes break for other reasons."""
    asked = select.poll()
    asked.register(stream.fileno(), 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in asked.poll(0))


def _say_no_more() -> None:
    """Have what is still to be said go nowhere: Python would complain at its end."""
    for stream in (sys.stdout, sys.stderr):
        if _has_no_reader(stream):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    raise SystemExit(TERMINATED)


if __name__ == "__main__":
    sys.exit(main())
