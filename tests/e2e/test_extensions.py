"""Rows that others add to the tables: a kind of task and a term, each one module, used from YAML alone."""

import json
import os
import subprocess
import sys

import pytest

from tests.e2e.conftest import ernie_tiny

STEPS = {"max_steps": 2, "learning_rate": 1e-3, "per_device_train_batch_size": 16}


def short(run, **changes):
    """The miniature run with a task-specific stage alone, of two steps."""
    run.config["baseline"] = None
    run.config["teacher"]["pretrain"]["training"]["max_steps"] = run.config["teacher"]["finetune"]["max_steps"] = 2
    run.config["stages"] = [{"stage": "task_specific", "training": STEPS}]
    run.config.update(changes)
    run.write()


def result_of(run):
    done = ernie_tiny("run", run.file)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads((run.root / "report.json").read_text(encoding="utf-8"))


def test_a_kind_of_task_is_one_module(unstarted, tmp_path, project_root):
    """Trained for two steps, exported and asked: no file of the package knows the kind."""
    module = project_root / "tests" / "extensions" / "graded.py"
    run = unstarted.copy(tmp_path)
    task = {**run.config["task"], "kind": "graded"}
    short(run, extensions=[str(module)], task=task)
    report = result_of(run)
    assert report["kind"] == "graded" and report["metric"] == "closeness"
    assert report["stages"][-1]["steps"] == 2 and "MSE(place, mean place)" in report["stages"][-1]["equation"]
    code = (
        "import json, sys, paddle_ernie_tiny as et; from paddle_ernie_tiny.extensions import load_extensions; "
        "load_extensions([sys.argv[1]]); predictor = et.Predictor(sys.argv[2]); "
        "print(json.dumps(predictor.kind.as_json(predictor.predict(['很好'])[0])))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(module), str(run.root / "bundle")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["label"] in run.config["task"]["labels"] and 0 <= answer["grade"] <= 1
    refused = ernie_tiny("predict", run.root / "bundle", "很好")
    assert refused.returncode == 2 and "unknown kind of task 'graded'" in refused.stderr


def test_a_term_is_one_class(unstarted, tmp_path, project_root):
    """Registered by a module on the path, with a weight and a setting of its own from YAML."""
    run = unstarted.copy(tmp_path)
    objective = {"logit_margin": {"weight": 0.5, "scale": 2.0}}
    short(run, extensions=[str(project_root / "tests" / "extensions" / "logit_margin.py")], objective=objective)
    equation = result_of(run)["stages"][-1]["equation"]
    assert equation.endswith("0.5 * logit_margin [MSE(margin_T, margin_S)]")
    curves = json.loads((run.root / "report.json").read_text(encoding="utf-8"))["training"][-1]["points"]
    assert any("logit_margin_loss" in point for point in curves)


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        ({"logit_margin": {"weight": 1.0, "scal": 2.0}}, "did you mean scale?"),
        ({"logit_margn": {"weight": 1.0}}, "did you mean logit_margin?"),
    ],
)
def test_settings_of_a_foreign_term_are_checked_like_any_other(unstarted, tmp_path, project_root, objective, message):
    run = unstarted.copy(tmp_path)
    short(run, extensions=[str(project_root / "tests" / "extensions" / "logit_margin.py")], objective=objective)
    done = ernie_tiny("validate", run.file)
    assert done.returncode == 2 and message in done.stderr


def test_an_extension_that_is_not_there_is_refused(unstarted, tmp_path):
    run = unstarted.copy(tmp_path)
    run.config["extensions"] = ["no_such_module_of_anybody"]
    run.write()
    done = ernie_tiny("validate", run.file)
    assert done.returncode == 2 and "no_such_module_of_anybody" in done.stderr


def test_labels_alone_are_distilled_without_latent_terms(unstarted, tmp_path):
    """All latent terms off: plain distillation; soft labels off too: plain fine-tuning. With reports."""
    off = {name: {"weight": 0.0} for name in ("attention", "hidden", "embedding")}
    for soft, terms in ((1.0, {"soft_label", "hard_label"}), (0.0, {"hard_label"})):
        run = unstarted.copy(tmp_path / str(soft))
        short(run, objective={**off, "soft_label": {"weight": soft}})
        report = result_of(run)
        assert report["latent"][0]["after"][-1] == {"stage": "task_specific"}
        curve = report["training"][-1]["points"][-1]
        assert {key.removesuffix("_loss") for key in curve if key.endswith("_loss")} == terms
        assert ernie_tiny("report", run.root).returncode == 0


def test_a_latent_stage_without_a_term_is_refused_before_training(unstarted, tmp_path):
    run = unstarted.copy(tmp_path)
    run.config["objective"] = {name: {"weight": 0.0} for name in ("attention", "hidden", "embedding")}
    run.write()
    done = ernie_tiny("validate", run.file)
    assert done.returncode == 2 and "every term has weight 0" in done.stderr and "stages[0]" in done.stderr


def test_the_report_needs_neither_paddle_nor_paddlenlp(finished):
    done = ernie_tiny("report", finished.root, blocked=("paddle", "paddlenlp"))
    assert done.returncode == 0, done.stderr


def test_the_call_from_the_command_to_the_loss_is_three_hops(unstarted, tmp_path):
    """cli.run -> pipeline/run.py -> the distil step's run -> compute_loss; frames of libraries apart."""
    run = unstarted.copy(tmp_path)
    short(run)
    trace = (
        "import sys, traceback; from pathlib import Path; import paddle_ernie_tiny; "
        "root = Path(paddle_ernie_tiny.__file__).parent\n"
        "from paddle_ernie_tiny import cli, machine; machine.tune_process()\n"
        "from paddle_ernie_tiny.distillation.trainers import DistillationTrainer as T; plain = T.compute_loss\n"
        "def traced(self, *arguments, **keywords):\n"
        "    frames = [Path(f.filename) for f in traceback.extract_stack()]\n"
        "    own = [f.relative_to(root).as_posix() for f in frames if root in f.parents]\n"
        "    own = [f for f in own if f != 'cli_options.py']  # a decorator of verbs, which nobody reads on the way\n"
        "    print('HOPS', *(f for i, f in enumerate(own) if not i or own[i - 1] != f), 'distillation/trainers.py')\n"
        "    return plain(self, *arguments, **keywords)\n"
        "T.compute_loss = traced\n"
        "cli.main()"
    )
    command = [sys.executable, "-c", trace, "run", str(run.file)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "COLUMNS": "120"})
    assert done.returncode == 0, done.stdout + done.stderr
    hops = next(line for line in done.stdout.splitlines() if line.startswith("HOPS"))
    assert hops.split()[1:] == ["cli.py", "pipeline/run.py", "pipeline/steps/distil.py", "distillation/trainers.py"]
