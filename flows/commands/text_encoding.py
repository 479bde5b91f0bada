"""Names and files are UTF-8 here, whatever the language of the terminal."""

import locale
import sys

from mal_core.errors import ConfigError


def require_utf8() -> None:
    """Refuse a locale in which Python would read and write text in another encoding.

    Raises:
        ConfigError: Names of files and classes would be garbled, or end in a traceback.
    """
    seen = {locale.getpreferredencoding(False), sys.getfilesystemencoding()}
    other = sorted(name for name in seen if name.lower().replace("-", "") != "utf8")
    if other:
        message = (
            f"the locale's encoding is {other[0]}, and names and files are UTF-8 here. Set "
            "PYTHONUTF8=1, or LC_ALL=C.UTF-8."
        )
        raise ConfigError(message)
