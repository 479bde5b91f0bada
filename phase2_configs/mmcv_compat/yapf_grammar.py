"""Imports yapf, which mmengine formats configs with, without its cache of grammars.

yapf keeps its parsed grammars in the user's cache folder. The first process to need them
renames a file there before all of it is written, so another that starts at that moment reads
half of it and dies with "EOFError: Ran out of input" (yapf 0.43); a kill in between leaves it
so for good. Two trainings side by side are such processes. Parsing anew takes 10 ms.
"""

import os
import tempfile

CACHE_VARIABLE = "XDG_CACHE_HOME"

_chosen = os.environ.get(CACHE_VARIABLE)
with tempfile.TemporaryDirectory() as _nowhere:
    os.environ[CACHE_VARIABLE] = _nowhere
    try:
        import yapf as yapf
    finally:
        del os.environ[CACHE_VARIABLE]
        if _chosen is not None:
            os.environ[CACHE_VARIABLE] = _chosen
