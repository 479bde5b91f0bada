"""A config whose text is formatted once: mmengine asks for it with every checkpoint."""

from mmengine.config import Config

_formatted: dict[str, str] = {}
"""The text of the last config, by its content."""


class FormattedConfig(Config):
    """mmengine's config; yapf, a quarter of a CPU second each time, runs once per content."""

    @property
    def pretty_text(self) -> str:
        """The config as formatted Python."""
        content = repr(self._cfg_dict)
        if content not in _formatted:
            text = super().pretty_text
            _formatted.clear()
            _formatted[content] = text
        return _formatted[content]
