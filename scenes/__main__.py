"""`python -m scenes OUTPUT` draws the embedded dataset."""

import argparse
from pathlib import Path

from scenes.write import write_scenes

parser = argparse.ArgumentParser(prog="python -m scenes", description=__doc__)
parser.add_argument("output", type=Path)
parser.add_argument("--train", type=int, default=400, help="number of training scenes")
parser.add_argument("--val", type=int, default=100, help="number of validation scenes")
parser.add_argument("--size", type=int, default=160, help="side of a scene in px")
parser.add_argument("--seed", type=int, default=0)
arguments = parser.parse_args()
write_scenes(
    arguments.output,
    num_train=arguments.train,
    num_val=arguments.val,
    size=arguments.size,
    seed=arguments.seed,
)
