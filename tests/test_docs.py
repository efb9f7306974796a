"""The documents keep their word: links, names, calls and files that they show exist."""

import ast
import inspect
import re
from collections import Counter
from pathlib import Path

import pytest
import yaml

import paddle_ernie_tiny as et

PAGES = ("CONTRIBUTING.md", "docs/architecture.md", "docs/python.md", "docs/benchmark.md", "docs/compression.md") + (
    "docs/ablation.md",
    "docs/data.md",
    "docs/http-server.md",
    "docs/paddle-serving.md",
    "docs/search.md",
)
PROSE = {f"docs/{file.name}" for file in (Path(__file__).resolve().parents[1] / "docs").glob("*.md")}
FILE = re.compile(r"`((?:[\w.-]+/)*[\w-]+\.(?:py|yaml|md|toml|lock|txt))(?::[^`]*)?`")
# Named in a document, but made by a run, a user, or another package.
MADE = {
    *("result.json", "rows.txt", "command.txt", "report.md", "report.html", "config.resolved.yaml", "vocab.txt"),
    *(
        "log.txt",
        "my_terms.py",
        "service.py",
        "compatibility.py",
        "client.py",
        "config.yml",
        "requirements.txt",
        "winner.yaml",
        "general.yaml",
    ),
}


def text_of(project_root, page):
    return (project_root / page).read_text(encoding="utf-8")


def blocks(text, language):
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def anchors(text):
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [*PAGES, "README.md", "README.zh-CN.md", "CHANGELOG.md"])
def test_links_lead_somewhere(project_root, page):
    for link in re.findall(r"\]\((?!http)([^)]+)\)", text_of(project_root, page)):
        path, _, anchor = link.partition("#")
        target = (project_root / page).parent / path if path else project_root / page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target.read_text(encoding="utf-8")), link


@pytest.mark.parametrize("page", [*sorted(PROSE), "README.md", "README.zh-CN.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_nothing_is_said_twice_on_a_page(project_root, page):
    text = re.sub(r"```.*?```", "", text_of(project_root, page), flags=re.DOTALL)
    said = [line for line in text.split("\n") if len(line) > 60 and not line.startswith("|")]
    assert [line for line, times in Counter(said).items() if times > 1] == []


@pytest.mark.parametrize("page", PAGES)
def test_files_that_are_named_exist(project_root, page):
    for name in FILE.findall(text_of(project_root, page)):
        places = (project_root, project_root / "paddle_ernie_tiny")
        assert name in MADE or any((place / name).exists() for place in places), name


@pytest.mark.parametrize("page", ["README.md", "README.zh-CN.md", "docs/python.md", "docs/benchmark.md"])
def test_python_that_is_shown_uses_names_and_parameters_that_exist(project_root, page):
    shown = blocks(text_of(project_root, page), "python")
    assert shown
    for block in shown:
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "et":
                assert node.attr in et.__all__, node.attr
            if isinstance(node, ast.Call) and re.fullmatch(r"et\.\w+", ast.unparse(node.func)):
                signature = inspect.signature(getattr(et, ast.unparse(node.func).removeprefix("et.")))
                signature.bind_partial(*node.args, **{keyword.arg: None for keyword in node.keywords})


def test_python_that_needs_no_run_works(project_root, monkeypatch, capsys):
    monkeypatch.chdir(project_root)
    sections = re.split(r"^## ", text_of(project_root, "docs/python.md"), flags=re.MULTILINE)
    by_title = {section.partition("\n")[0]: section for section in sections}
    for title in ("Errors", "The tables"):
        for block in blocks(by_title[title], "python"):
            exec(compile(block, title, "exec"), {"et": et})
    printed = capsys.readouterr().out
    assert "did you mean seed?" in printed and "task_specific finetuned task latent + soft label" in printed
    assert all(name in printed for name in (*et.TERMS, *et.KINDS, *et.METRICS))


def test_every_public_name_is_explained(project_root):
    page = text_of(project_root, "docs/python.md")
    extending = {
        "Stage",
        "Captured",
        "Pair",
        "Scored",
        "Entity",
        "Score",
        "Prediction",
        "Term",
        "Kind",
        "Metric",
        "Needs",
    }
    for name in set(et.__all__) - extending - {"__version__"}:
        assert re.search(rf"\b{name}\b", page), name


def test_the_page_of_studies_has_every_key_and_variant_and_its_examples_are_right(project_root, tmp_path):
    from paddle_ernie_tiny.study.ablate import plan_jobs
    from paddle_ernie_tiny.study.study_settings import StudySettings, load_study
    from paddle_ernie_tiny.study.variants import DEFAULTS, VARIANTS

    page = text_of(project_root, "docs/ablation.md")
    file, variants = page.partition("## The study's file")[2].partition("### Variants")[::2]
    assert re.findall(r"^\| `(\w+)` \|", file, flags=re.MULTILINE) == list(StudySettings.model_fields)
    named = re.findall(r"^\| `(\w+)` \|", variants.partition("### Several tasks")[0], flags=re.MULTILINE)
    assert named == list(VARIANTS) and tuple(named[:9]) == DEFAULTS
    first, own, several = (yaml.safe_load(block) for block in blocks(page, "yaml"))
    for base, more in (("lcqmc.yaml", own), ("base/zh.yaml", {**several, "own": {}})):
        study = {**first, **more, "base": str(project_root / "configs" / base)}
        (tmp_path / "study.yaml").write_text(yaml.safe_dump(study), encoding="utf-8")
        settings, mapping = load_study(tmp_path / "study.yaml")
        jobs, left_out = plan_jobs(settings, mapping, "study.yaml")
        assert len(jobs) == 3 * len(settings.every_variant) * max(1, len(settings.tasks)) and not left_out


def test_the_page_of_searches_has_every_key_and_its_default(project_root, tmp_path):
    from paddle_ernie_tiny.budget_search.search_settings import SearchSettings, load_search

    page, shown = text_of(project_root, "docs/search.md"), dict[str, str | None]()
    rows = re.findall(r"^\| (`[^|]+`) \| ([^|]*) \|", page.partition("## The file")[2], flags=re.MULTILINE)
    for names, default in rows:
        keys = re.findall(r"`([\w.]+)`", names)
        shown |= dict(zip(keys, re.findall(r"`([^`]+)`", default) or [None] * len(keys), strict=False))
    settings, known = SearchSettings(output_dir="x", base="y", budget={"latency_ms": 1.0}), {}
    for name in SearchSettings.model_fields:
        section = getattr(settings, name)
        parts = getattr(type(section), "model_fields", None)
        known |= {f"{name}.{key}": getattr(section, key) for key in parts} if parts else {name: section}
    assert set(shown) == set(known)
    for name, value in known.items():
        if shown[name] is not None and name != "budget.latency_ms":
            assert yaml.safe_load(shown[name]) == value, name
    block, own = blocks(page, "yaml")
    study = {**yaml.safe_load(block), "base": str(project_root / "configs/demo.yaml")}
    (tmp_path / "search.yaml").write_text(yaml.safe_dump(study), encoding="utf-8")
    assert load_search(tmp_path / "search.yaml")[0].budget.bounds == {"latency_ms": 5, "files_mb": 20}
    base = {**yaml.safe_load(own), "extends": str(project_root / "configs/base/zh.yaml")}
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(base), encoding="utf-8")
    assert et.load_config(tmp_path / "base.yaml").teacher.finetune is None


@pytest.mark.parametrize("name", ["logit_margin", "graded"])
def test_worked_examples_are_shown_as_they_are(project_root, name):
    source = text_of(project_root, f"tests/extensions/{name}.py")
    added = ["".join(f"{line[1:]}\n" for line in block.splitlines()) for block in diffs(project_root)]
    assert source in added


def diffs(project_root):
    return [
        block
        for block in blocks(text_of(project_root, "docs/architecture.md"), "diff")
        if all(line.startswith("+") for line in block.splitlines())
    ]


def test_make_targets_and_markers_that_contributors_are_told_exist(project_root):
    page, makefile = text_of(project_root, "CONTRIBUTING.md"), text_of(project_root, "Makefile")
    targets = set(re.findall(r"(?:`|^)make ([a-z]+)", page, flags=re.MULTILINE))
    assert {"setup", "quick", "test", "lint"} <= targets
    assert targets <= set(re.findall(r"^([a-z]+):", makefile, flags=re.MULTILINE))
    markers = re.findall(r'^    "([a-z0-9]+): ', text_of(project_root, "pyproject.toml"), flags=re.MULTILINE)
    assert len(markers) == 3 and all(f"`{marker}`" in page for marker in markers)


# --- private parts -------------------------------------------------------------------------------------------------


def private_parts(project_root):
    """(names, files) of every line of the tables."""
    section = text_of(project_root, "docs/architecture.md").partition("## Private parts")[2]
    for line in section.splitlines():
        cells = re.findall(r"(?<=\| ).*?(?= \|)", line)
        if len(cells) == 3 and "`" in cells[0]:
            yield [re.findall(r"`([^`]+)`", cell) for cell in cells[:2]]


def test_private_parts_are_used_where_the_page_says(project_root):
    rows = list(private_parts(project_root))
    assert len(rows) > 30
    for names, files in rows:
        assert files
        paths = [project_root / "paddle_ernie_tiny" / file for file in files]
        sources = [inner for path in paths for inner in ([path] if path.is_file() else sorted(path.glob("*.py")))]
        text = "".join(source.read_text(encoding="utf-8") for source in sources)
        for name in names:
            bare = re.split(r"[(=]", name)[0].strip(".").rpartition(".")[2]
            assert re.search(r"\w+", bare).group() in text, (name, files)


def test_every_private_part_is_on_the_page(project_root):
    """Attributes with an underscore that the package does not define itself, and methods that it takes from Trainer."""
    from paddlenlp.trainer import Trainer

    from paddle_ernie_tiny.distillation.trainers import DistillationTrainer

    trees = [ast.parse(path.read_text("utf-8")) for path in (project_root / "paddle_ernie_tiny").rglob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    own = {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)}
    own |= {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    own |= {
        node.attr
        for node in nodes
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and ast.unparse(node.value) == "self"
    }
    used = {node.attr for node in nodes if isinstance(node, ast.Attribute) and re.match(r"_[a-z]", node.attr)} - own
    taken = {name for cls in DistillationTrainer.__mro__[:2] for name in vars(cls) if re.match(r"_[a-z]", name)}
    used |= {name for name in taken if hasattr(Trainer, name)}
    assert {"_grad_clip", "_save_checkpoint", "_insert_op"} <= used
    page = text_of(project_root, "docs/architecture.md")
    missing = sorted(name for name in used if not re.search(rf"\b{name}\b", page))
    assert not missing


def test_the_order_of_the_folders_is_complete(project_root):
    page = text_of(project_root, "docs/architecture.md")
    block = next(block for block in blocks(page, "") if block.startswith("errors "))
    listed = {name for line in block.splitlines() for name in re.findall(r"^\{?([\w, ]+?)(?:\}|  |$)", line)}
    names = {name.strip() for part in listed for name in part.split(",")} - {""}
    package = project_root / "paddle_ernie_tiny"
    there = {path.stem for path in package.glob("*.py")} | {path.parent.name for path in package.glob("*/__init__.py")}
    assert names == there - {"__init__", "__main__"}
