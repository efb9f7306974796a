"""The scripts in benchmarks/ import only names that exist: nothing else runs them, so nothing else would notice."""

import ast
import importlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"
ELSEWHERE = ("torch", "transformers")  # code that another environment's Python runs
SCRIPTS = {path.stem: path for path in sorted(FOLDER.glob("*.py"))}


def test_there_are_scripts():
    assert len(SCRIPTS) > 10


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_imports_only_names_that_exist(name):
    source = SCRIPTS[name].read_text(encoding="utf-8")
    missing = [f"benchmarks/{name}.py:{line} {what}" for line, what in missing_imports(source)]
    assert not missing, "\n".join(missing)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("from paddle_ernie_tiny.machine import cpu_cores", []),
        ("from paddle_ernie_tiny import machine", []),
        ("from common import pair, TEACHER", []),
        ("from paddle_ernie_tiny.machine import no_such", [(1, "paddle_ernie_tiny.machine.no_such")]),
        ("def f():\n    from paddle_ernie_tiny import no_such", [(2, "paddle_ernie_tiny.no_such")]),
        ("import paddle_ernie_tiny.no_such", [(1, "paddle_ernie_tiny.no_such")]),
        ("from paddle_ernie_tiny.no_such import name", [(1, "paddle_ernie_tiny.no_such")]),
        ("from common import no_such", [(1, "common.no_such")]),
        ("\ncode = 'import json; from common import no_such'", [(2, "common.no_such")]),
        ("\ncode = f'from common import no_such; no_such({1 + 1!r})'", [(2, "common.no_such")]),
        ('"""From common, import nothing: plain text."""', []),
    ],
)
def test_what_is_missing_is_found(source, expected):
    assert list(missing_imports(source)) == expected


def missing_imports(source: str) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of every imported name that is not there, also in the code that child processes get.

    In that code, which is a string of the script, the line is where the string starts.
    """
    nodes = list(ast.walk(ast.parse(source)))
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names if not is_module(alias.name))
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if not is_module(module):
                yield node.lineno, module
                continue
            for alias in node.names:
                if not has_name(module, alias.name):
                    yield node.lineno, f"{module}.{alias.name}"
        elif isinstance(node, ast.Constant | ast.JoinedStr) and "import " in (text := code_of(node)):
            try:
                yield from ((node.lineno, name) for _, name in missing_imports(text))
            except SyntaxError:
                pass  # text, not code


def code_of(node: ast.expr) -> str:
    """The text of a literal; what an f-string fills in is `x`."""
    if isinstance(node, ast.JoinedStr):
        return "".join(code_of(part) if isinstance(part, ast.Constant) else "x" for part in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def is_module(name: str) -> bool:
    """Is it a script beside the others, a module that can be imported, or one of another environment?"""
    if name in SCRIPTS or name in ELSEWHERE:
        return True
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # a package above it
        return False


def has_name(module: str, name: str) -> bool:
    """Does the script or module have the name, or the package a module of it?"""
    if module in SCRIPTS:
        return name in defined_names(SCRIPTS[module])
    return hasattr(importlib.import_module(module), name) or is_module(f"{module}.{name}")


def defined_names(script: Path) -> set[str]:
    """What a script assigns, defines or imports at its top level; scripts are not imported, as some start to work."""
    names: set[str] = set()
    for node in ast.parse(script.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            names |= {
                part.id for part in ast.walk(node) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)
            }
    return names
