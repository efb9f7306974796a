"""A run's configuration: schema, reading, overrides."""

from .deployment import BenchmarkSettings, ExportSettings, Int8Settings
from .load import check_config, config_from, dump_config, load_config, stage_objective_settings
from .objective_settings import ObjectiveSettings
from .schema import (
    AugmentationSettings,
    DataSettings,
    ModelShape,
    PretrainSettings,
    RunConfig,
    StageSettings,
    StudentSettings,
    TrainingSettings,
)

__all__ = [
    "AugmentationSettings",
    "BenchmarkSettings",
    "DataSettings",
    "ExportSettings",
    "Int8Settings",
    "ModelShape",
    "ObjectiveSettings",
    "PretrainSettings",
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
