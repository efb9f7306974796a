"""How the package is built: imports flow one way, files and functions are small, every name is there once."""

import ast
import graphlib
import re
import resource
import statistics
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from paddle_ernie_tiny.kinds import KINDS

PACKAGE = Path(__file__).resolve().parents[1] / "paddle_ernie_tiny"
SOURCES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(PACKAGE.rglob("*.py"))}
# A part of the package imports from its own line and those above it.
FLOW = """
errors
text_rule
files
seals
sections
stages
defaults
machine
engines
processes
watch
distributed
config data kinds terms extensions
models
training
distillation
augmentation
deploy
paddle_serving
benchmark
pipeline
study
budget_search
api
cli_options
cli_formats
cli
__main__
"""
RANK = {part: rank for rank, parts in enumerate(FLOW.split("\n")) for part in parts.split()}
MAX_LINES_OF_A_FILE, MAX_LINES_OF_A_FUNCTION = 350, 60


def module_name(path: Path) -> str:
    """`paddle_ernie_tiny.kinds.kind`; of an `__init__.py`, the package."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in SOURCES}


def imports(path: Path, nodes):
    """(line, absolute name) of every import among the nodes of a file of the package."""
    package = path.relative_to(PACKAGE.parent).parts[:-1]
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                yield node.lineno, f"{module}.{alias.name}"


def test_each_part_imports_only_from_above(project_root):
    wrong = []
    for path, tree in SOURCES.items():
        own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if own == "__init__":
            continue
        for line, name in imports(path, ast.walk(tree)):
            parts = name.split(".")
            if parts[0] == PACKAGE.name and len(parts) > 1 and parts[1] in RANK and RANK[parts[1]] > RANK[own]:
                wrong.append(f"{path.relative_to(project_root)}:{line} imports {name}")
    assert not wrong, "\n".join(wrong)


def when_loaded(body: list[ast.stmt]):
    """The statements that run when a module is imported: not those of functions, nor for type checkers alone."""
    for node in body:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        for field in ("body", "orelse", "finalbody"):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield from when_loaded(getattr(node, field, []))
        for handler in getattr(node, "handlers", []):
            yield from when_loaded(handler.body)


def loaded_by(name: str) -> set[str]:
    """The modules of the package that a module imports while it is imported itself."""
    found = set()
    for _, imported in imports(MODULES[name], when_loaded(SOURCES[MODULES[name]].body)):
        while imported and imported not in MODULES:
            imported = imported.rpartition(".")[0]
        # a module's packages are loaded before it; those of the importer are being loaded already
        parts = imported.split(".")
        above = {".".join(parts[:length]) for length in range(1, len(parts))}
        found |= {imported} | {package for package in above if not f"{name}.".startswith(f"{package}.")}
    return (found & set(MODULES)) - {name}


def test_no_modules_import_each_other_in_a_circle():
    graph = {name: loaded_by(name) for name in MODULES}
    assert "paddle_ernie_tiny.kinds" in graph["paddle_ernie_tiny.extensions"], "the graph has edges"
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def test_files_and_functions_are_small():
    long = []
    for path, tree in SOURCES.items():
        lines = len(path.read_text(encoding="utf-8").splitlines())
        if lines > MAX_LINES_OF_A_FILE:
            long.append(f"{path}: {lines} lines")
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                if lines > MAX_LINES_OF_A_FUNCTION:
                    long.append(f"{path}:{node.lineno} {node.name}: {lines} lines")
    assert not long, "\n".join(long)


def test_no_two_files_share_a_name():
    counts = Counter(path.name for path in SOURCES)
    counts.pop("__init__.py")
    assert [name for name, count in counts.items() if count > 1] == []


def test_no_two_classes_share_a_name():
    counts = Counter(
        node.name for tree in SOURCES.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)
    )
    assert [name for name, count in counts.items() if count > 1] == []


def literals(node: ast.expr):
    """The value of a literal, or those in a literal tuple, list or set."""
    for part in node.elts if isinstance(node, ast.Tuple | ast.List | ast.Set) else [node]:
        if isinstance(part, ast.Constant):
            yield part.value


def test_only_the_kinds_folder_asks_which_kind_of_task_it_is():
    """What differs between kinds is a method or attribute of theirs, so that a new kind is one new class."""
    found = []
    for path, tree in SOURCES.items():
        if path.relative_to(PACKAGE).parts[0] == "kinds":
            continue
        for node in ast.walk(tree):
            compared = [node.left, *node.comparators] if isinstance(node, ast.Compare) else []
            compared += [node.value] if isinstance(node, ast.MatchValue) else []
            if any(value in KINDS for part in compared for value in literals(part) if isinstance(value, str)):
                found.append(f"{path.relative_to(PACKAGE)}:{node.lineno} {ast.unparse(node)}")
    assert not found, "\n".join(found)


def test_only_their_table_names_the_inference_engines():
    """The schema, help texts and versions of results read it, so that a new engine is one new row."""
    from paddle_ernie_tiny.engines import ENGINES

    names = set(ENGINES) - {"paddle", "onnxruntime"}  # Paddle's own, and the one that the conversion is compared in
    found = [
        f"{path.relative_to(PACKAGE)}:{node.lineno} {node.value}"
        for path, tree in SOURCES.items()
        for node in ast.walk(tree)
        if path.name != "engines.py" and isinstance(node, ast.Constant) and any(n in str(node.value) for n in names)
    ]
    assert names and not found, "\n".join(found)


def run_python(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["", ".config", ".kinds", ".terms", ".extensions"])
def test_configurations_are_checked_without_paddle(name):
    run_python(
        f"import sys; import {PACKAGE.name}{name}; "
        "bad = [m for m in ('paddle', 'paddlenlp') if m in sys.modules]; sys.exit(str(bad) if bad else 0)"
    )


def test_the_predictor_never_imports_paddlenlp_or_training_code():
    training = tuple(f"{PACKAGE.name}.{part}" for part in ("models", "training", "distillation", "augmentation"))
    run_python(
        "import sys; import paddle_ernie_tiny.deploy.predictor, paddle_ernie_tiny.deploy.row_files; "
        f"bad = [m for m in sys.modules if m.split('.')[0] == 'paddlenlp' or m.startswith({training})]; "
        "sys.exit(str(bad) if bad else 0)"
    )


def test_help_loads_nothing_heavy():
    run_python(
        "import sys; from paddle_ernie_tiny import cli; "
        "bad = [m for m in ('paddle', 'paddlenlp', 'numpy', 'yaml', 'pydantic') if m in sys.modules]; "
        "sys.exit(str(bad) if bad else 0)"
    )


@pytest.mark.e2e
def test_help_answers_in_under_a_second():
    """Of the processor's time, which a busy machine does not stretch as it does the clock's."""

    def used():
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return children.ru_utime + children.ru_stime

    seconds = []
    for _ in range(3):
        start = used()
        subprocess.run([sys.executable, "-m", PACKAGE.name, "--help"], capture_output=True, check=True)
        seconds.append(used() - start)
    assert statistics.median(seconds) < 1, seconds


def test_the_stub_lists_the_public_names(project_root):
    """`__init__.pyi` is what type checkers see of the names that `__init__.py` imports when they are used."""
    import paddle_ernie_tiny

    stub = ast.parse((PACKAGE / "__init__.pyi").read_text(encoding="utf-8"))
    listed = {}
    for node in stub.body:
        if isinstance(node, ast.ImportFrom):
            listed |= {alias.asname: node.module for alias in node.names if alias.asname == alias.name}
    assert listed == paddle_ernie_tiny._NAMES
    assert set(paddle_ernie_tiny.__all__) == {*listed, "__version__"}
    assert (PACKAGE / "py.typed").is_file()


def test_the_product_names_nothing_of_a_developers_machine(project_root):
    """Absolute paths, and paths that lead out of the checkout, stay out of what users get."""
    absolute = re.compile(r"(?<![\w.<])/(?:home|root|mnt|opt|Users|work)/\w")
    upwards = re.compile(r"(?:\.\./)+[\w./-]+")
    for folder in ("paddle_ernie_tiny", "configs", "examples"):
        for path in (project_root / folder).rglob("*"):
            if path.suffix in (".py", ".yaml", ".md", ".j2", ".sh"):
                text = path.read_text(encoding="utf-8")
                assert not absolute.search(text), path
                for found in upwards.findall(text):
                    target = (path.parent / found).resolve()
                    assert target.is_relative_to(project_root) and target.exists(), f"{path}: {found}"
