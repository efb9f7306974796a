"""Rows that other packages add to the tables: terms, kinds of task, metrics.

A module that calls `register_term`, `register_kind` or `register_metric` is found by an entry point of the group
`paddle_ernie_tiny.extensions`, or named under `extensions` in the YAML (a module, or the path of a .py file).
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterable
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from .errors import InputError
from .kinds import KINDS, Kind
from .kinds.metrics import METRICS, Metric
from .processes import child_setup
from .sections import checked_fields
from .terms import TERMS, Term

_loaded: dict[str, None] = {}  # what child processes have to load too, in order
_files: set[str] = set()  # modules that came from a .py file: their names mean nothing elsewhere


def register_term(term: type[Term]) -> type[Term]:
    """Adds a term to the objective, off unless a configuration gives it a weight. Returns it, so it also decorates."""
    _register(TERMS, term.name, term, term.__module__)
    return term


def register_kind(kind: type[Kind]) -> type[Kind]:
    """Adds a kind of task with its own metrics. Returns it, so it also decorates."""
    _register(KINDS, kind.name, kind(), kind.__module__)
    for metric in kind.own_metrics:
        register_metric(metric)
    return kind


def register_metric(metric: Metric) -> Metric:
    """Adds a metric for the kinds of task that it names."""
    _register(METRICS, metric.name, metric, metric.value.__module__)
    return metric


def _register(table: dict, name: str, row, module: str) -> None:
    if name in table and module not in _loaded:
        raise ValueError(f"there is a {name!r} already; choose another name")
    table[name] = row
    if module != "__main__" and module not in _files:
        _remember(module)


def _remember(name: str) -> None:
    """Child processes load it too."""
    _loaded.setdefault(name)
    child_setup["extensions"] = (load_extensions, (tuple(_loaded),))


def load_extensions(names: Iterable[str] = ()) -> None:
    """Imports the modules or .py files in `names`, and what is installed with an entry point.

    Raises InputError for one that is not there or cannot be imported.
    """
    _load_entry_points()
    for name in names:
        _import(str(Path(name).resolve()) if name.endswith(".py") else name)


def _import(name: str) -> None:
    try:
        if name.endswith(".py"):
            _import_file(Path(name))
        else:
            importlib.import_module(name)
    except Exception as error:  # whatever the module raises
        what = f"the extension {name!r} cannot be imported: {type(error).__name__}: {error}"
        raise InputError(what, "extensions", "name an installed module, or the path of a .py file") from error
    _remember(name)


def kind_named(name: str, where: str, settings: dict[str, Any] | None = None) -> Kind:
    """The row of `KINDS`, with settings of its own. Raises InputError, naming `where`, for one that is not known.

    Raises ValueError for settings that it does not have.
    """
    if name not in KINDS:
        _load_entry_points()
    if name not in KINDS:
        remedy = f"known: {', '.join(KINDS)}; import the module that registers it"
        raise InputError(f"unknown kind of task {name!r}", where, remedy)
    kind = KINDS[name]
    return kind.with_settings(checked_fields(kind.Settings, settings)) if settings else kind


@cache
def _load_entry_points() -> None:
    for entry in metadata.entry_points(group="paddle_ernie_tiny.extensions"):
        _import(entry.module)


def _import_file(path: Path) -> None:
    if path.stem in _files:
        return
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    _files.add(path.stem)
    spec.loader.exec_module(module)
