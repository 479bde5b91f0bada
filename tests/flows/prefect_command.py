"""`python -m prefect`, a CPU second sooner: tests start it two dozen times for what it serves."""

import gc

from mal_core.processes.collector import end_uncollected

if __name__ == "__main__":
    end_uncollected()
    gc.set_threshold(200_000)  # of the imports, which go on in its commands
    from prefect.cli import app

    app()
