"""A run's configuration: schema, reading, overrides."""

from .load import TASKS, check_config, dump_config, load_config
from .objective_settings import ObjectiveSettings
from .schema import (
    AugmentationSettings,
    BenchmarkSettings,
    DataSettings,
    Int8Settings,
    PretrainSettings,
    RunConfig,
    StageSettings,
    TrainingSettings,
)
from .student_settings import ModelShape, StudentSettings
