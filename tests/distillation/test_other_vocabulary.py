"""A student with a vocabulary of its own: each model reads a row in its own ids, and labels are what they share."""

from dataclasses import replace

import numpy as np
import paddle
import pytest

from paddle_ernie_tiny.config import ObjectiveSettings
from paddle_ernie_tiny.data.rows import IGNORED, Example, PairedRows, TokenExample
from paddle_ernie_tiny.data.tokenization import SPECIAL_TOKENS, WordPieceTokenizer
from paddle_ernie_tiny.distillation.objective import Objective
from paddle_ernie_tiny.distillation.students import DistilledStudent
from paddle_ernie_tiny.distillation.teacher import Layout, SignalCache, Teacher
from paddle_ernie_tiny.distillation.trainers import TRAINERS
from paddle_ernie_tiny.kinds import KINDS
from paddle_ernie_tiny.training.inference import predict_outputs
from paddle_ernie_tiny.training.trainer import Training, training_arguments

from ..tiny_training import SETTINGS, classifier, fit
from ..training.test_trainer import weights, whole_and_resumed

WORDS = ["play", "ing", "red", "blue", "go", "sun"]
TEACHERS = WordPieceTokenizer([*SPECIAL_TOKENS, *WORDS, "##ing"])
LETTERS = sorted(set("".join(WORDS)))
STUDENTS = WordPieceTokenizer(["[CLS]", "[SEP]", "[PAD]", *LETTERS, *(f"##{c}" for c in LETTERS), "[UNK]", "[MASK]"])
LABELS_ALONE = {name: {"weight": 0} for name in ("attention", "hidden", "embedding")}


def examples(kind, count=22):
    rng = np.random.default_rng(0)
    rows = [[str(word) for word in rng.choice([*WORDS, "playing"], size=rng.integers(1, 5))] for _ in range(count)]
    if kind.by_token:
        return [TokenExample(tuple(row), tuple(word in ("red", "blue") for word in row), 1) for row in rows]
    return [Example(" ".join(row), None, len(row) % 2, 1) for row in rows]


def pair(kind, max_length=12):
    """The same rows in both models' ids; of tagged ones, the same windows."""
    how = examples(kind), max_length, kind.long_texts[0]
    sides = (STUDENTS, TEACHERS), (TEACHERS, STUDENTS)
    return PairedRows(*(kind.encode(side, *how, beside) for side, beside in sides))


def by_window(model, kind, rows, pad_id):
    """What a model answers to each window."""
    return predict_outputs(model, kind, replace(rows, rows=None), pad_id)


def trainer_of(kind, rows, folder, cache=None):
    paddle.seed(5)
    student_model = classifier(1, 8, vocab_size=STUDENTS.vocab_size, kind=kind)
    teacher_model = classifier(3, 16, vocab_size=TEACHERS.vocab_size, kind=kind, dropout=0.5)
    objective = Objective(ObjectiveSettings(**LABELS_ALONE), student_model.config, teacher_model.config, kind, True)
    teacher = Teacher(teacher_model, objective.needs("teacher"), cache=cache)
    args = training_arguments(SETTINGS, len(rows), folder, folder / "vdl", seed=3)
    training = Training(args, rows, STUDENTS.pad_id, "test")
    return TRAINERS["task_specific"](DistilledStudent(student_model, objective, 16), teacher, training)


@pytest.fixture(params=["classification", "token_classification"])
def kind(request):
    return KINDS[request.param]


def batch_of(trainer, numbers):
    made = trainer.make_batch([trainer.train_dataset[number] for number in numbers])
    return {name: paddle.to_tensor(value) for name, value in made.items()}


def test_the_teacher_answers_on_its_own_ids(kind, tmp_path):
    """As its plain forward pass over its own rows does, whatever the padding of the batch."""
    rows = pair(kind)
    assert not np.array_equal(rows.student.lengths, rows.teacher.lengths)
    trainer, numbers = trainer_of(kind, rows, tmp_path), [3, 0, 7, 12]
    expected = by_window(trainer.teacher.model, kind, rows.teacher, TEACHERS.pad_id)
    inputs = batch_of(trainer, numbers)
    labels = inputs.pop("labels").numpy()
    found = trainer.ask_teacher(inputs).logits.numpy()
    assert set(inputs) == {"input_ids", "token_type_ids", "attention_mask"}, "the student's own are left"
    np.testing.assert_array_equal(inputs["input_ids"].numpy()[0, : rows.student.lengths[3]], rows.student.input_ids[3])
    for place, number in enumerate(numbers):
        own = found[place][labels[place] != IGNORED] if kind.by_token else found[place][None]
        np.testing.assert_allclose(own, expected[number], atol=1e-6)


def test_the_soft_label_is_between_answers_to_the_same_row(kind, tmp_path):
    rows, numbers = pair(kind), [1, 4, 9]
    trainer = trainer_of(kind, rows, tmp_path)
    trainer.model.eval()
    taught = by_window(trainer.teacher.model, kind, rows.teacher, TEACHERS.pad_id)
    own = by_window(trainer.model.classifier, kind, rows.student, STUDENTS.pad_id)
    one = np.concatenate([taught[number][: len(own[number])] for number in numbers])
    other = np.concatenate([own[number] for number in numbers])
    probabilities = np.exp(one) / np.exp(one).sum(-1, keepdims=True)
    expected = -(probabilities * (other - np.log(np.exp(other).sum(-1, keepdims=True)))).sum(-1).mean()
    inputs = batch_of(trainer, numbers)
    labels, answers = inputs.pop("labels"), trainer.ask_teacher(inputs)
    values, _ = trainer.student_loss(trainer.model, answers, inputs, labels)
    assert float(values["soft_label"]) == pytest.approx(expected, rel=1e-5)


def test_windows_of_tagged_rows_are_the_same_words_in_both():
    """Ten letters of the student's tokens are three words, of the teacher's tokens ten: the letters decide."""
    kind = KINDS["token_classification"]
    row = [TokenExample(("play", "red", "blue", "go"), (0, 1, 1, 0), 1)]
    student, teacher = (
        kind.encode(STUDENTS, row, 10, "windows", TEACHERS),
        kind.encode(TEACHERS, row, 10, "windows", STUDENTS),
    )
    rows = PairedRows(student, teacher)
    assert [[TEACHERS.tokens[i] for i in ids[1:-1]] for ids in teacher.input_ids] == [["play", "red"], ["blue", "go"]]
    for number, labels in ((0, [0, 1]), (1, [1, 0])):
        item, places = rows[number], student.places[number]
        assert item["labels"][places].tolist() == labels
        assert (item["labels"] != IGNORED).sum() == 2, "a word has one label"
        assert item["teacher_at"][places].tolist() == [1, 2], "the teacher has one token per word"
    with pytest.raises(ValueError, match="the windows"):
        PairedRows(student, kind.encode(TEACHERS, row, 10))


def test_cached_answers_are_those_of_an_online_teacher(kind, tmp_path):
    """The cache knows the teacher's rows alone, so it serves students of any vocabulary."""
    rows, results, asked = pair(kind), {}, []
    for mode in ("online", "cached"):
        trainer = trainer_of(kind, rows, tmp_path / mode)
        if mode == "cached":
            layout = Layout(trainer.teacher.needs, 16, 2, kind.by_token)
            trainer.teacher.cache = SignalCache(tmp_path / "c", {"teacher": "x"}, layout, rows.teacher.lengths)
            trainer.teacher.model.register_forward_post_hook(lambda *_: asked.append(1))
        results[mode] = fit(trainer)["history"]
    assert len(asked) == -(-len(rows) // SETTINGS.per_device_train_batch_size)
    for online, cached in zip(results["online"], results["cached"], strict=True):
        assert cached.get("loss") == pytest.approx(online.get("loss"), rel=1e-5)


def test_a_training_that_was_cut_off_ends_with_the_same_weights(kind, tmp_path):
    rows = pair(kind)
    (whole, expected), (resumed, result) = whole_and_resumed(lambda folder: trainer_of(kind, rows, folder), tmp_path)
    assert result["history"][-1]["loss"] == expected["history"][-1]["loss"]
    assert result["history"][-1]["loss"] < expected["history"][0]["loss"]
    for name, value in weights(whole).items():
        np.testing.assert_array_equal(weights(resumed)[name], value)
