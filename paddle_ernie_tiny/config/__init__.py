"""A run's configuration: schema, reading, overrides."""

from .load import check_config, dump_config, load_config
from .objective_settings import ObjectiveSettings
from .schema import (
    AugmentationSettings,
    BenchmarkSettings,
    DataSettings,
    Int8Settings,
    ModelShape,
    PretrainSettings,
    RunConfig,
    StageSettings,
    StudentSettings,
    TrainingSettings,
)
