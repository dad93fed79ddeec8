"""Configurations: `base.py` holds every field, the others change a few; `load` reads any."""

from configs.loading import FOLDER, load

__all__ = ["FOLDER", "load"]
