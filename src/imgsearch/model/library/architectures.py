"""Which models transformers has itself, so that no code has to come with them."""

from __future__ import annotations

from typing import Any

from imgsearch.errors import CheckpointError


def is_known(settings: dict[str, Any]) -> bool:
    """Tell whether transformers has the classes that a settings file names."""
    import transformers
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    if "model_type" in settings:
        return settings["model_type"] in CONFIG_MAPPING
    keys = ("processor_class", "image_processor_type", "tokenizer_class")
    named = [name for key in keys if isinstance(name := settings.get(key), str)]
    return bool(named) and all(hasattr(transformers, name) for name in named)


def check_known(name: str, kind: object) -> None:
    """Raise CheckpointError for an architecture that transformers has not, by config.json's model_type."""
    from transformers import __version__

    if not is_known({"model_type": kind}):
        raise CheckpointError(f"{name} is a {kind!r} model, which transformers {__version__} does not know")
