"""Every public name of the package says what it does, and every public parameter has a type.

Read from the source, so that nothing heavy is imported. What overrides a documented method of the package is covered
by that method; what PaddleNLP's TrainerCallback calls (`on_...`) is documented there.
"""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "paddle_ernie_tiny"
SOURCES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(PACKAGE.rglob("*.py"))}
PARTS = sorted({path.relative_to(PACKAGE).parts[0] for path in SOURCES})
CLASSES = {node.name: node for tree in SOURCES.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
CHECKED_SPECIAL = ("__init__", "__call__")  # of the methods with two underscores
Function = ast.FunctionDef | ast.AsyncFunctionDef


def _public(name: str) -> bool:
    return not name.startswith("_") or name in CHECKED_SPECIAL


def _functions(body: list[ast.stmt]) -> list[Function]:
    return [node for node in body if isinstance(node, Function) and _public(node.name)]


def _base_names(owner: ast.ClassDef) -> list[str]:
    """Names of all classes above one, near ones first; those of other packages too."""
    found = []
    for base in owner.bases:
        name = ast.unparse(base).split("[")[0].rpartition(".")[2]
        found += [name, *(_base_names(CLASSES[name]) if name in CLASSES else ())]
    return found


def _inherited(owner: ast.ClassDef, method: str) -> bool:
    """Is the method documented by a class above, or called by PaddleNLP's trainer?"""
    bases = _base_names(owner)
    if "TrainerCallback" in bases and method.startswith("on_"):
        return True
    above = [node for base in bases if base in CLASSES for node in _functions(CLASSES[base].body)]
    return any(node.name == method and ast.get_docstring(node) for node in above)


def _untyped(function: Function, method: bool) -> list[str]:
    """The parameters of a function without a type, and "return" if its result has none."""
    static = any(ast.unparse(decorator) == "staticmethod" for decorator in function.decorator_list)
    arguments = function.args
    named = [*arguments.posonlyargs, *arguments.args][1 if method and not static else 0 :]
    extra = [given for given in (arguments.vararg, arguments.kwarg) if given is not None]
    missing = [given.arg for given in (*named, *arguments.kwonlyargs, *extra) if given.annotation is None]
    return missing + (["return"] if function.returns is None and function.name != "__init__" else [])


def _faults(place: str, function: Function, method: bool) -> list[str]:
    faults = [f"{place}: {name} has no type" for name in _untyped(function, method)]
    if function.name != "__init__" and not ast.get_docstring(function):
        faults.append(f"{place}: no docstring")
    return faults


def faults_of(path: Path, tree: ast.Module) -> list[str]:
    """What is undocumented or untyped in one module."""
    where = str(path.relative_to(PACKAGE))
    faults = [] if ast.get_docstring(tree) else [f"{where}: no docstring"]
    for function in _functions(tree.body):
        faults += _faults(f"{where}:{function.lineno} {function.name}", function, method=False)
    for owner in tree.body:
        if not isinstance(owner, ast.ClassDef) or owner.name.startswith("_"):
            continue
        if not ast.get_docstring(owner):
            faults.append(f"{where}:{owner.lineno} {owner.name}: no docstring")
        for method in _functions(owner.body):
            if method.name == "__init__" or not _inherited(owner, method.name):
                faults += _faults(f"{where}:{method.lineno} {owner.name}.{method.name}", method, method=True)
    return faults


@pytest.mark.parametrize("part", PARTS)
def test_every_public_name_is_documented_and_typed(part):
    found = []
    for path, tree in SOURCES.items():
        if path.relative_to(PACKAGE).parts[0] == part:
            found += faults_of(path, tree)
    assert not found, "\n".join(found)


def test_the_check_sees_what_is_missing(tmp_path):
    code = "class A:\n    def f(self, x, *rest: int) -> None: pass\n\ndef _g(y): pass\n\nasync def h(z=1): 'Says.'\n"
    found = faults_of(PACKAGE / "given.py", ast.parse(code))
    assert found == [
        "given.py: no docstring",
        "given.py:6 h: z has no type",
        "given.py:6 h: return has no type",
        "given.py:1 A: no docstring",
        "given.py:2 A.f: x has no type",
        "given.py:2 A.f: no docstring",
    ]
