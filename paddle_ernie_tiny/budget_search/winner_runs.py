"""The winner's run as YAML, and that of the student it starts from, so that both can be made again."""

from __future__ import annotations

from pathlib import Path

import yaml

from ..config import RunConfig
from ..files import write_text
from ..stages import step_names
from .space import general_stages

WINNER, GENERAL = "winner.yaml", "general.yaml"


def write_winner(root: Path, config: RunConfig, elder: RunConfig | None) -> None:
    """Writes winner.yaml, and general.yaml where the winner starts from another student.

    Both runs have folders of their own, so that what was searched stays as it is; the start is the student that was
    searched. elder: its run, whose general stages are the winner's start.
    """
    how = "# The winner's run: `ernie-tiny run winner.yaml` makes it again. Every default is filled in.\n"
    if elder is not None:
        last = step_names([stage.stage for stage in elder.stages])[general_stages(elder) - 1]
        made = f"`ernie-tiny run general.yaml --until {last}`"
        how += f"# Its start, student.init.folder, is a part of the student that {made} makes again.\n"
        _write(root / GENERAL, "# The general stages that the winner starts from.\n", elder, root / "general")
    _write(root / WINNER, how, config, root / "winner")


def _write(file: Path, how: str, config: RunConfig, folder: Path) -> None:
    values = config.model_copy(update={"output_dir": str(folder)}).model_dump(mode="json")
    write_text(file, how + yaml.safe_dump(values, allow_unicode=True, sort_keys=False))
