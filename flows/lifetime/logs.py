"""Where log lines go: the terminal, and inside a flow run Prefect's run log too."""

import contextlib
import logging
import os
import sys
import time

from tqdm import tqdm

from mal_core.errors import printable

OUR_LOGGERS = ("mal_core", "flows")
TIME_FORMAT = "%H:%M:%S"
PREFECT_DEFAULTS = {
    # Prefect asks for two switches: the server's and the client's.
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    # A temporary server on two busy cores needs more than the default 20 s.
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
}


class TerminalHandler(logging.Handler):
    """Writes lines to stderr without tearing progress bars."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record; a traceback, if it carries one, stays out."""
        clock = time.strftime(TIME_FORMAT, time.localtime(record.created))
        with contextlib.suppress(OSError):  # the terminal is gone
            tqdm.write(f"{clock} {printable(record.getMessage())}", file=sys.stderr)


def show_logs() -> None:
    """Show our log lines on stderr; results alone go to stdout."""
    for name in OUR_LOGGERS:
        logger = logging.getLogger(name)
        if not logger.handlers:
            logger.addHandler(TerminalHandler(logging.INFO))
        logger.setLevel(logging.DEBUG)
        logger.propagate = False


def quiet_prefect() -> None:
    """Leave the terminal to our own lines; the dashboard still gets everything."""
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    set_prefect_defaults()


def set_prefect_defaults() -> None:
    """Choose Prefect's settings for this process where the user has not."""
    for name, value in PREFECT_DEFAULTS.items():
        os.environ.setdefault(name, value)


def attach_run_log() -> None:
    """Send our log lines to the log of the flow run that this process works on."""
    from prefect.logging.handlers import APILogHandler

    show_logs()
    for name in OUR_LOGGERS:
        logger = logging.getLogger(name)
        if not any(isinstance(handler, APILogHandler) for handler in logger.handlers):
            logger.addHandler(APILogHandler())


def detach_run_log() -> None:
    """Stop sending lines to Prefect: the run they belong to is over."""
    from prefect.logging.handlers import APILogHandler

    for name in OUR_LOGGERS:
        logger = logging.getLogger(name)
        for handler in [
            attached for attached in logger.handlers if isinstance(attached, APILogHandler)
        ]:
            logger.removeHandler(handler)
