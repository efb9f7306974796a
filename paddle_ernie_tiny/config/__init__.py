"""A run's configuration: schema, reading, overrides."""

from .load import check_config, config_from, dump_config, load_config, stage_objective_settings
from .objective import ObjectiveSettings
from .schema import (
    AugmentationSettings,
    DataSettings,
    ModelShape,
    RunConfig,
    StageSettings,
    StudentSettings,
    TrainingSettings,
)

__all__ = [
    "AugmentationSettings",
    "DataSettings",
    "ModelShape",
    "ObjectiveSettings",
    "RunConfig",
    "StageSettings",
    "StudentSettings",
    "TrainingSettings",
    "check_config",
    "config_from",
    "dump_config",
    "load_config",
    "stage_objective_settings",
]
