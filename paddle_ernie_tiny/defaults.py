"""Defaults that the configuration, the Python API and the command line share."""

from dataclasses import MISSING, field
from typing import Any

EXPORT_ROWS = 64  # evaluation rows of the export's parity gate
EXPORT_TOLERANCE = 1e-4  # largest allowed difference of logits between two graphs
MAX_LENGTH_TOKENS = 128  # of a row, with [CLS] and [SEP]
CALIBRATION_ROWS = 64  # training rows that the scales of int8 activations are taken from
MAX_DROP_POINTS = 0.5  # hundredths of the metric that int8 may lose
BATCH_SIZE = 32  # rows of a forward pass in prediction
BENCH_SECONDS = 10.0  # to measure each model in each setting
BENCH_ROUNDS = 5  # turns that the models take in each setting
BENCH_LENGTHS = (128,)  # tokens per text
BENCH_THREADS = (1,)  # CPU threads
AUTO = "auto"  # of engines the fastest that a bundle was compared in, of threads every core
BENCH_ENGINES = ("paddle",)  # inference engines
AUTO_THREADS = "auto: every core that this process may use, and that its CPU quota pays for"  # for help texts


def option(help: str, default: Any = MISSING, **more: Any) -> Any:
    """A data class's field that is an option of the command line: see `cli_options.with_options`."""
    return field(default=default, metadata={"help": help, **more})
