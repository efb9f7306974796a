"""`validate` finds what would fail later, names it, and leaves nothing behind."""

import json

import paddle
import pytest
import yaml

from .conftest import ernie_tiny


def test_a_good_configuration(unstarted):
    done = ernie_tiny("validate", unstarted.file)
    assert done.returncode == 0 and "valid" in done.stdout, done.stderr
    assert not unstarted.root.exists(), "validate writes nothing"


def test_wrong_keys_exit_2(unstarted):
    done = ernie_tiny("validate", unstarted.file, "sed=1", "student.hiden_size=4")
    assert done.returncode == 2
    assert "did you mean seed?" in done.stderr and "did you mean hidden_size?" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("overrides", "messages"),
    [
        (["data.train=nowhere.tsv", "general_corpus.path=nowhere"], ["nowhere.tsv", "nowhere"]),
        (["data.columns.text=txet"], ["txet"]),
        (["student.num_attention_heads=1"], ["needs equal head counts", "relation"]),
        (["student.num_hidden_layers=3"], ["the student has 3 layers, the teacher only 2"]),
        (["task.labels=[good, bad]"], ["train.tsv:2", "negative"]),
        (["stages.general.training.precision=bfloat16"], ["mixed precision (bfloat16) needs a GPU"]),
    ],
)
def test_what_would_fail_later_is_found_first(unstarted, overrides, messages):
    done = ernie_tiny("run", unstarted.file, *overrides)
    assert done.returncode == 2, done.stdout + done.stderr
    for message in messages:
        assert message in done.stderr
    assert not unstarted.root.exists()


def test_a_folder_that_no_run_made_is_not_touched(unstarted, tmp_path):
    (tmp_path / "own" / "data").mkdir(parents=True)
    (tmp_path / "own" / "data" / "thesis.doc").write_text("kept")
    done = ernie_tiny("run", unstarted.file, f"output_dir={tmp_path / 'own'}", "--fresh")
    assert done.returncode == 2 and "not made by a run (it holds data)" in done.stderr
    assert (tmp_path / "own" / "data" / "thesis.doc").read_text() == "kept"


def test_a_corpus_that_is_too_small_to_hold_rows_out(unstarted, tmp_path):
    run = unstarted.copy(tmp_path)
    (run.folder / "general" / "part.txt").write_text("房间很宽敞\n" * 19, encoding="utf-8")
    done = ernie_tiny("run", run.file)
    assert done.returncode == 2 and "only 19 rows" in done.stderr


def test_a_gpu_that_is_not_there_is_found_first(unstarted):
    if paddle.is_compiled_with_cuda() and paddle.device.cuda.device_count():
        pytest.skip("this machine has a GPU")
    done = ernie_tiny("validate", unstarted.file, "device=gpu", "data.train=nowhere.tsv")
    assert done.returncode == 2
    assert "no GPU that this Paddle can use" in done.stderr and "nowhere.tsv" in done.stderr


def test_a_teacher_whose_labels_stand_in_another_order_is_refused(finished, tmp_path):
    teacher = finished.root / "teacher" / "finetuned" / "final"
    config = yaml.safe_load(finished.file.read_text(encoding="utf-8"))
    config["teacher"] = {"model": str(teacher), "finetune": None}
    config["output_dir"] = str(tmp_path / "run")
    config["task"]["labels"] = ["positive", "negative"]
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    done = ernie_tiny("validate", tmp_path / "run.yaml")
    assert done.returncode == 2 and "list task.labels in the teacher's order" in done.stderr


@pytest.mark.parametrize(
    ("augmentation", "code", "message"),
    [
        ("{copies_per_row: 1}", 2, "no masked LM head to draw replacements from"),
        ("{copies_per_row: 1, word_vectors: nowhere.vec}", 2, "no such file of word vectors: nowhere.vec"),
        ("{copies_per_row: 1, word_vectors: VECTORS}", 0, "replacements come from the word vectors alone"),
    ],
)
def test_augmentation_has_something_to_draw_on(finished, tmp_path, augmentation, code, message):
    config = yaml.safe_load(finished.file.read_text(encoding="utf-8"))
    config["teacher"] = {"model": str(finished.root / "teacher" / "finetuned" / "final"), "finetune": None}
    config["output_dir"] = str(tmp_path / "run")
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    (tmp_path / "words.vec").write_text("房间 0.1 0.2\n", encoding="utf-8")
    augmentation = augmentation.replace("VECTORS", str(tmp_path / "words.vec"))
    done = ernie_tiny("validate", tmp_path / "run.yaml", f"augmentation={augmentation}")
    assert done.returncode == code, done.stdout + done.stderr
    assert message in done.stdout + done.stderr


def test_a_finetuned_teacher_from_a_folder_needs_no_training(finished, tmp_path):
    """An engineer with a fine-tuned teacher: two stages, no pre-training, no fine-tuning, no baseline."""
    config = yaml.safe_load(finished.file.read_text(encoding="utf-8"))
    config["teacher"] = {"model": str(finished.root / "teacher" / "finetuned" / "final"), "finetune": None}
    config.update(output_dir=str(tmp_path / "run"), baseline=None, stages=config["stages"][2:])
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    for _ in range(2):  # this teacher has learnt nothing: every try stops before the first stage
        refused = ernie_tiny("run", tmp_path / "run.yaml")
        assert refused.returncode == 1 and "gold \\ predicted" in refused.stderr, refused.stderr
        assert not (tmp_path / "run" / "stages").exists()
    done = ernie_tiny("run", tmp_path / "run.yaml", "teacher.check_above_chance=false")
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "run" / "report.json").read_text(encoding="utf-8"))
    earlier = json.loads((finished.root / "report.json").read_text(encoding="utf-8"))
    assert report["teacher"]["score"] == pytest.approx(earlier["teacher"]["score"])
    assert report["baseline"]["score"] is None and len(report["stages"]) == 2


@pytest.mark.parametrize("override", ["export.engines=[paddle,onnxruntime]", "benchmark={engines: [onnxruntime]}"])
def test_an_engine_that_is_not_installed_is_found_first(unstarted, override):
    done = ernie_tiny("validate", unstarted.file, override, blocked=("onnxruntime",))
    assert done.returncode == 2 and "'onnxruntime' is not installed" in done.stderr
    assert override.partition("=")[0] in done.stderr and "paddle-ernie-tiny[bench]" in done.stderr
