"""More task text from the training rows: words replaced by what fits their place, entities by others of their type."""

from .augmenters import AUGMENTERS, AugmentationTeacher, augmented_rows
from .copies import Augmented

__all__ = ["AUGMENTERS", "AugmentationTeacher", "Augmented", "augmented_rows"]
