"""A run's configuration: schema, reading, overrides."""

from .load import check_config, dump_config, load_config, stage_objective
from .schema import (
    STAGE_NAMES,
    AugmentationSettings,
    DataSettings,
    ModelShape,
    ObjectiveSettings,
    RunConfig,
    StageSettings,
    StudentSettings,
    TrainingSettings,
)

__all__ = [
    "STAGE_NAMES",
    "AugmentationSettings",
    "DataSettings",
    "ModelShape",
    "ObjectiveSettings",
    "RunConfig",
    "StageSettings",
    "StudentSettings",
    "TrainingSettings",
    "check_config",
    "dump_config",
    "load_config",
    "stage_objective",
]
