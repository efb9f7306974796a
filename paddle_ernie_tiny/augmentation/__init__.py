"""More task text from the training rows: words replaced by what fits their place, entities by others of their type."""

from .cache import cache_inputs, cached
from .copies import Augmented
from .entities import swap_entities
from .text import augment

__all__ = ["Augmented", "augment", "cache_inputs", "cached", "swap_entities"]
