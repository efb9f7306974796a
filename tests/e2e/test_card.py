"""The model card of finished runs: in bundle and manifest, sealed, without a path, made again only if needed."""

import json

import pytest
import yaml
from huggingface_hub import ModelCard

from paddle_ernie_tiny.deploy.bundle import read_manifest
from paddle_ernie_tiny.deploy.card import write_transformers_card
from paddle_ernie_tiny.kinds import KINDS
from paddle_ernie_tiny.pipeline.verdicts import shown
from paddle_ernie_tiny.pipeline.verify import verify

from .conftest import ernie_tiny

TAGS = {"classification": "text-classification", "regression": "text-classification"}


def cards(run):
    """(the card of the run's bundle, its report)"""
    report = json.loads((run.root / "report.json").read_text(encoding="utf-8"))
    return ModelCard((run.root / "bundle" / "README.md").read_text(encoding="utf-8")), report


@pytest.mark.parametrize("name", ["finished", "regressor", "tagger"])
def test_the_card_of_a_run_of_every_kind(name, request):
    run = request.getfixturevalue(name)
    card, report = cards(run)
    (result,) = card.data.eval_results
    assert card.data.model_name == result.task_name == run.config["task"]["name"] == report["task"]
    assert card.data.pipeline_tag == result.task_type == TAGS.get(report["kind"], "token-classification")
    assert (result.metric_type, result.metric_value) == (report["metric"], pytest.approx(report["student"]["score"]))
    assert (result.dataset_split, result.dataset_args) == ("test", {"rows": report["student"]["rows"]})
    assert not {"license", "language", "base_model", "datasets"} & card.data.to_dict().keys(), "nobody said so"
    for stage in report["stages"]:
        assert f"{stage['name']}: {stage['equation']}\n" in card.content
    for model in ("teacher", "baseline", "student"):
        assert f"| {shown(report[model])} |" in card.content
    assert ("| floor (" in card.content) == (report["floor"] is not None)
    assert str(run.folder) not in card.content and run.folder.name not in card.content
    assert "README.md" in read_manifest(run.root / "bundle").files
    assert not verify(run.root, lambda line: None) and not verify(run.root / "bundle", lambda line: None)


def states(run) -> dict:
    files = (path for path in run.root.rglob("*") if path.is_file() and not path.name.startswith((".", "report")))
    rewritten = ("config.resolved.yaml", "preflight.json", "sealed.json")  # at every start, or with the report
    return {path: path.stat().st_mtime_ns for path in files if path.name not in rewritten}


def test_a_card_is_made_again_only_if_it_is_damaged_or_says_something_else(finished, tmp_path):
    run = finished.copy(tmp_path / "run")
    path = run.root / "bundle" / "README.md"
    before = states(run)
    assert ernie_tiny("run", run.file).returncode == 0
    assert states(run) == before

    text, done = path.read_text(encoding="utf-8"), run.root / "data" / "export" / "done.json"
    identity = json.loads(done.read_text(encoding="utf-8"))["id"]
    path.write_text(text + "more", encoding="utf-8")
    healed = ernie_tiny("run", run.file)
    assert healed.returncode == 0, healed.stderr
    assert path.read_text(encoding="utf-8") == text and not verify(run.root, lambda line: None)
    assert json.loads(done.read_text(encoding="utf-8"))["id"] == identity, "what builds on the bundle stays"

    run.config["card"] = {"license": "apache-2.0", "language": "zh", "name": "小模型: #1"}
    run.write()
    changed = ernie_tiny("run", run.file)
    assert "export: already done" in changed.stdout and "card: re-running: facts.card.language" in changed.stdout
    data = ModelCard(path.read_text(encoding="utf-8")).data
    assert (data.license, data.language, data.model_name) == ("apache-2.0", "zh", "小模型: #1")
    assert not verify(run.root, lambda line: None)


def test_a_checkpoint_of_the_run_takes_its_figures_with_it_and_another_folder_does_not(finished, tmp_path):
    (tmp_path / "rows.txt").write_text("房间很宽敞\n服务不好\n", encoding="utf-8")
    own, _ = cards(finished)
    final = finished.root / "stages" / "4-task_specific" / "final"
    done = ernie_tiny("export", final, tmp_path / "bundle", "--input", tmp_path / "rows.txt", "--max-length", "16")
    assert done.returncode == 0, done.stderr
    card = ModelCard((tmp_path / "bundle" / "README.md").read_text(encoding="utf-8"))
    assert card.data.to_dict() == own.data.to_dict() and "more than 16 tokens is cut" in card.content
    kind = KINDS["classification"]
    for folder, known in ((final, True), (finished.root / "baseline" / "final", False)):
        path = write_transformers_card(tmp_path, folder, kind, ["a", "b"], 9290, None, {"transformers": "5"})
        header = yaml.safe_load(path.read_text(encoding="utf-8").split("---\n")[1])
        assert ("model-index" in header) == known and header["library_name"] == "transformers"
