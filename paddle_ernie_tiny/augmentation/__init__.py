"""More task text from the training rows: words replaced by what fits their place, entities by others of their type."""

from .augmenters import AUGMENTERS, AugmentationRequest, augmented_rows
from .copies import Augmented

__all__ = ["AUGMENTERS", "AugmentationRequest", "Augmented", "augmented_rows"]
