"""A run whose bundle has only the tokens of the run's texts: from its configuration to int8, report and card."""

import json

import pytest

from paddle_ernie_tiny.data.tokenization import read_tokenizer
from paddle_ernie_tiny.deploy.predictor import Predictor
from paddle_ernie_tiny.pipeline.verify import verify

from .conftest import ernie_tiny


@pytest.fixture(scope="module")
def pruned(finished, tmp_path_factory):
    """(the finished run with a pruned vocabulary and int8, what was printed)"""
    run = finished.copy(tmp_path_factory.mktemp("pruned"))
    run.config["export"] |= {
        "prune_vocabulary": {"corpus": [], "max_drop_points": 100.0},
        "int8": {"calibration_rows": 16, "max_drop_points": 100.0},
    }
    run.write()
    done = ernie_tiny("run", run.file)
    assert done.returncode == 0, done.stdout + done.stderr
    return run, done.stdout


def test_only_the_export_runs_again(pruned):
    run, printed = pruned
    assert "task_specific: already done" in printed and "export: re-running: prune_vocabulary" in printed
    again = ernie_tiny("run", run.file)
    assert again.returncode == 0, again.stdout + again.stderr
    assert all(f"{step}: already done" in again.stdout for step in ("export", "quantize", "card"))
    assert not verify(run.root, lambda line: None)


def test_the_bundle_has_the_tokens_that_the_command_keeps(pruned, tmp_path):
    """Of the same texts, which the command is given as a file."""
    run, _ = pruned
    rows = (run.folder / "train.tsv").read_text(encoding="utf-8").splitlines()
    column = rows[0].split("\t").index("text")
    texts = [row.split("\t")[column] for row in rows[1:]]
    (tmp_path / "texts.txt").write_text("\n".join(texts), encoding="utf-8")
    final = run.root / "stages" / "4-task_specific" / "final"
    done = ernie_tiny("prune-vocabulary", final, tmp_path / "small", "--corpus", tmp_path / "texts.txt")
    made, vocabulary = json.loads(done.stdout), run.report["export"]["vocabulary"]
    assert {key: vocabulary[key] for key in made if key != "tokens_used"} == {
        k: made[k] for k in made if k in vocabulary
    }
    for bundle in ("bundle", "bundle-int8"):
        assert read_tokenizer(run.root / bundle).tokens == read_tokenizer(tmp_path / "small").tokens
    assert read_tokenizer(final).vocab_size == made["tokens_before"] > made["tokens_after"]


@pytest.mark.parametrize("split", ["dev", "test"])
def test_the_report_tells_what_it_costs(pruned, split):
    run, printed = pruned
    figures = run.report["export"]["vocabulary"]["splits"][split]
    evaluated = ernie_tiny("evaluate", run.root / "bundle", run.folder / f"{split}.tsv")
    assert json.loads(evaluated.stdout)["accuracy"] == pytest.approx(figures["score_after"])
    assert split == "dev" or figures["score_before"] == pytest.approx(run.report["student"]["score"])
    assert 0 < figures["rows_changed"] < figures["rows"] == {"dev": 40, "test": 60}[split]
    line = f"| {split} | {figures['rows']} | {figures['rows_changed']} | {figures['score_before']:.4f} |"
    assert line in (run.root / "report.md").read_text(encoding="utf-8")
    assert f"{split}: {figures['rows_changed']} of {figures['rows']} rows have such a token" in printed
    assert "with a token that is left out" in (run.root / "report.html").read_text(encoding="utf-8")


def test_int8_and_both_cards_are_of_the_pruned_student(pruned):
    run, _ = pruned
    vocabulary = run.report["export"]["vocabulary"]
    assert run.report["int8"]["metric_fp32"] == pytest.approx(vocabulary["splits"]["dev"]["score_after"])
    for name in ("bundle", "bundle-int8"):
        manifest = json.loads((run.root / name / "manifest.json").read_text(encoding="utf-8"))
        assert manifest["vocabulary"] == vocabulary
        assert manifest["architecture"]["vocab_size"] == vocabulary["tokens_after"]
        card = (run.root / name / "README.md").read_text(encoding="utf-8")
        assert f"{vocabulary['tokens_after']} of {vocabulary['tokens_before']} tokens are kept" in card
    assert "split: test" in (run.root / "bundle" / "README.md").read_text(encoding="utf-8")
    assert Predictor(run.root / "bundle").predict(["房间很宽敞"])[0].label in ("negative", "positive")
