"""More task text from the training rows: words replaced by what fits their place, entities by others of their type."""

from .augmenters import AUGMENTERS, augmented_rows
from .copies import AugmentationTeacher, Augmented

__all__ = ["AUGMENTERS", "AugmentationTeacher", "Augmented", "augmented_rows"]
