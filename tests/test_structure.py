"""The flow goes one way: a folder imports only from folders above it."""

import ast
import re
import subprocess
import sys

FLOW = [
    "errors",
    "files",
    "runtime",
    "machine",
    "distributed",
    "config",
    "data",
    "models",
    "augmentation",
    "training",
    "distillation",
    "deploy",
    "benchmark",
    "pipeline",
    "cli",
    "__main__",
]


def _imports(path):
    """(line, absolute name) of every import in a file of the package."""
    package = ["paddle_ernie_tiny", *path.parts[path.parts.index("paddle_ernie_tiny") + 1 : -1]]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join(base + ([node.module] if node.module else []))
            for alias in node.names:
                yield node.lineno, f"{module}.{alias.name}"


def test_each_folder_imports_only_from_above(project_root):
    package = project_root / "paddle_ernie_tiny"
    wrong = []
    for path in package.rglob("*.py"):
        own = path.relative_to(package).parts[0].removesuffix(".py")
        if own == "__init__":
            continue
        for line, name in _imports(path):
            parts = name.split(".")
            if parts[0] == "paddle_ernie_tiny" and len(parts) > 1 and parts[1] in FLOW:
                if FLOW.index(parts[1]) > FLOW.index(own):
                    wrong.append(f"{path.relative_to(project_root)}:{line} imports {name}")
    assert not wrong, "\n".join(wrong)


def test_the_predictor_never_imports_paddlenlp_or_training_code():
    code = (
        "import sys; import paddle_ernie_tiny.deploy.predictor, paddle_ernie_tiny.deploy.commands; "
        "bad = [m for m in sys.modules if m.split('.')[0] == 'paddlenlp' or m.startswith('paddle_ernie_tiny.t')"
        " or m.startswith('paddle_ernie_tiny.m')]; sys.exit(str(bad) if bad else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_help_loads_nothing_heavy():
    code = (
        "import sys; from paddle_ernie_tiny import cli; "
        "bad = [m for m in ('paddle', 'paddlenlp', 'numpy', 'yaml', 'pydantic') if m in sys.modules]; "
        "sys.exit(str(bad) if bad else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


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
