"""The objective on real small models: captures, terms, equation, refusals."""

from types import SimpleNamespace

import numpy as np
import paddle
import pytest
from safetensors.numpy import save_file

from paddle_ernie_tiny.config import ObjectiveSettings, RunConfig
from paddle_ernie_tiny.distillation.objective import Objective, stage_objective
from paddle_ernie_tiny.distillation.students import DistilledStudent
from paddle_ernie_tiny.distillation.teacher import Teacher
from paddle_ernie_tiny.errors import InputError
from paddle_ernie_tiny.kinds import KINDS
from paddle_ernie_tiny.models.capture import Capture
from paddle_ernie_tiny.terms import Captured, Needs, losses

CLASSES = KINDS["classification"]


def shape(layers, width, heads):
    return SimpleNamespace(num_hidden_layers=layers, hidden_size=width, num_attention_heads=heads)


def classifier(layers, width, heads, family="bert"):
    from paddlenlp import transformers as nlp

    prefix = {"bert": "Bert", "ernie": "Ernie", "roberta": "Roberta", "skep": "Skep", "tinybert": "TinyBert"}[family]
    config = getattr(nlp, f"{prefix}Config")(
        vocab_size=50,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=2 * width,
        max_position_embeddings=32,
        type_vocab_size=2,
        num_labels=3,
        pad_token_id=0,
    )
    model = getattr(nlp, f"{prefix}ForSequenceClassification")(config)
    model.eval()
    return model


def batch(padding=0):
    rng = np.random.default_rng(0)
    ids = rng.integers(5, 50, size=(2, 6))
    mask = np.ones((2, 6), dtype=np.float32)
    ids[1, 4:], mask[1, 4:] = 0, 0
    ids, mask = (np.pad(x, ((0, 0), (0, padding))) for x in (ids, mask))
    return {
        "input_ids": paddle.to_tensor(ids),
        "token_type_ids": paddle.zeros_like(paddle.to_tensor(ids)),
        "attention_mask": paddle.to_tensor(mask),
    }


def values(padding=0, student_heads=2, **settings):
    paddle.seed(7)
    settings = ObjectiveSettings(**settings)
    student_model, teacher_model = classifier(2, 8, student_heads), classifier(4, 16, 2)
    objective = Objective(settings, student_model.config, teacher_model.config, CLASSES, label_terms=True)
    student = DistilledStudent(student_model, objective, 16)
    student.eval()
    teacher = Teacher(teacher_model, objective.needs("teacher"))
    inputs = batch(padding)
    terms = objective(student(**inputs), teacher(inputs), inputs["attention_mask"], paddle.to_tensor([0, 2]))
    return {name: float(value) for name, value in terms.items()}


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"attention": {"loss": "mse"}, "hidden": {"loss": "cosine"}, "embedding": {"loss": "cosine"}},
        {"attention": {"loss": "relation"}, "soft_label": {"loss": "kl"}, "projection": "shared"},
        {"dist": {"weight": 1.0}, "dkd": {"weight": 1.0, "standardize": True}, "soft_label": {"standardize": True}},
        {"attention": {"loss": "relation", "relations": ["value"]}, "soft_label": {"loss": "mse"}, "layer_map": [3, 3]},
    ],
)
def test_every_term_is_positive_and_unmoved_by_padding(settings):
    plain, padded = values(**settings), values(padding=5, **settings)
    always = {"attention", "hidden", "embedding", "soft_label", "hard_label"}
    assert set(plain) == always | (settings.keys() & {"dist", "dkd"})
    for name, value in plain.items():
        assert value > 0
        assert padded[name] == pytest.approx(value, rel=1e-4, abs=1e-7), name


@pytest.mark.parametrize("family", ["bert", "ernie", "roberta", "skep", "tinybert"])
def test_captured_q_and_k_give_the_models_own_attention(family):
    model = classifier(3, 16, 4, family)
    capture = Capture(model, Needs(hidden=(0, 2, 3), attention=(2,)))
    inputs = batch()
    output = model(**inputs, output_hidden_states=True, output_attentions=True, return_dict=True)
    states = capture.take()
    for layer in (0, 2, 3):
        np.testing.assert_allclose(states.hidden[layer].numpy(), output.hidden_states[layer].numpy(), atol=1e-6)
    scores = losses.head_scores(states.query[2], states.key[2], 4)
    hide = (1 - inputs["attention_mask"]).unsqueeze([1, 2]) * -1e9
    own = paddle.nn.functional.softmax(scores + hide, axis=-1)
    np.testing.assert_allclose(own.numpy(), output.attentions[1].numpy(), atol=1e-6)


@pytest.mark.parametrize("engine", ["static", "inference"])
@pytest.mark.parametrize("logits", [True, False])
def test_a_teacher_s_graph_gives_the_states_of_the_plain_one(logits, engine):
    needs = Needs(hidden=(0, 2), attention=(1, 3), parts=("query", "value"), logits=logits)
    model = classifier(3, 16, 4)
    plain = Teacher(model, needs)
    few = {name: values[:1] for name, values in batch(padding=1).items()}
    batches = [batch(), batch(padding=3), few, batch()]  # one graph for several batch sizes and lengths
    expected = [plain(inputs) for inputs in batches]
    plain.release()
    compiled = Teacher(model, needs, engine)
    for inputs, states in zip(batches, expected, strict=True):
        own = compiled(inputs)
        assert (own.logits is None) == (not logits)
        if logits:
            np.testing.assert_allclose(own.logits.numpy(), states.logits.numpy(), atol=1e-5)
        for kind in ("hidden", "query", "key", "value"):
            assert getattr(own, kind).keys() == getattr(states, kind).keys()
            for layer, value in getattr(states, kind).items():
                np.testing.assert_allclose(getattr(own, kind)[layer].numpy(), value.numpy(), atol=1e-5)


def test_hooks_leave_nothing_behind():
    model, other = classifier(2, 8, 2), classifier(2, 8, 2)
    capture = Capture(model, Needs(hidden=(1,), attention=(1,)))
    other(**batch())
    assert capture.take().hidden == {}, "another instance of the class must not be captured"
    capture.remove()
    model(**batch())
    assert capture.take().hidden == {}


def test_total_is_the_weighted_sum_and_zero_weights_are_left_out():
    settings = ObjectiveSettings(
        attention={"weight": 2.0}, hidden={"weight": 0.5}, embedding={"weight": 0}, soft_label={"weight": 0}
    )
    objective = Objective(settings, shape(2, 8, 2), shape(4, 16, 2), CLASSES, label_terms=True)
    assert [term.name for term in objective.terms] == ["attention", "hidden", "hard_label"]
    assert float(objective.total({"attention": 1.0, "hidden": 4.0, "hard_label": 3.0})) == pytest.approx(7.0)
    assert objective.needs("teacher") == Needs(hidden=(2, 4), attention=(2, 4))
    assert objective.needs("student") == Needs(hidden=(1, 2), attention=(1, 2), logits=True)
    assert objective.equation().startswith("loss = 2 * attention [KL(A_T || A_S) over 2 layers] + 0.5 * hidden")


def test_unequal_heads_are_refused_with_the_remedy():
    with pytest.raises(InputError, match="objective.attention.loss=relation"):
        Objective(ObjectiveSettings(), shape(2, 8, 2), shape(4, 16, 4), CLASSES, label_terms=False)


def test_relation_takes_unequal_heads_and_refuses_a_width_that_does_not_divide():
    assert values(attention={"loss": "relation"}, student_heads=4)["attention"] > 0
    settings = ObjectiveSettings(attention={"loss": "relation", "relation_heads": 3})
    with pytest.raises(InputError, match="width 8 cannot be split into 3 relation heads"):
        Objective(settings, shape(2, 8, 2), shape(4, 12, 4), CLASSES, label_terms=False)


def run_config(**objective):
    data = {"train": "train.tsv", "dev": "dev.tsv"}
    stages = [{"stage": "task_specific", "training": {"max_steps": 1}}]
    return RunConfig(
        output_dir="runs/x",
        task={"name": "t", "labels": ["a", "b"]},
        data=data,
        teacher={"model": "m", "finetune": {"max_steps": 1}},
        stages=stages,
        objective=objective,
    )


def test_a_stage_without_terms_is_refused():
    none = {"weight": 0}
    off = {"attention": none, "hidden": none, "embedding": none}
    labels_alone = stage_objective(run_config(**off), 0, shape(8, 8, 2), shape(4, 16, 2))
    assert [term.name for term in labels_alone.terms] == ["soft_label", "hard_label"]
    assert labels_alone.layers == {}, "no layers are compared, so a student may have more of them than its teacher"
    with pytest.raises(InputError, match="every term has weight 0"):
        stage_objective(run_config(**off, soft_label=none, hard_label=none), 0, shape(2, 8, 2), shape(4, 16, 2))


def test_relation_equals_numpy():
    """MiniLMv2: mean KL of q-q, k-k and v-v relations (here with one head)."""
    rng = np.random.default_rng(5)
    s, t = rng.normal(size=(2, 3, 1, 4, 6)).astype(np.float32)
    settings = ObjectiveSettings(
        attention={"loss": "relation", "relation_heads": 1}, hidden={"weight": 0}, embedding={"weight": 0}
    )
    objective = Objective(settings, shape(1, 6, 2), shape(1, 6, 3), CLASSES, label_terms=False)
    states = [
        Captured(
            query={1: paddle.to_tensor(x[0])},
            key={1: paddle.to_tensor(x[1])},
            value={1: paddle.to_tensor(x[2])},
        )
        for x in (s, t)
    ]

    def distribution(x):
        scores = x @ x.T / np.sqrt(6)
        e = np.exp(scores - scores.max(-1, keepdims=True))
        return e / e.sum(-1, keepdims=True)

    expected = np.mean(
        [
            (distribution(t[i, 0]) * np.log(distribution(t[i, 0]) / distribution(s[i, 0]))).sum(-1).mean()
            for i in range(3)
        ]
    )
    value = objective(states[0], states[1], paddle.ones([1, 4]))["attention"]
    assert float(value) == pytest.approx(expected, rel=1e-5)


def test_a_weight_changes_linearly_over_the_stage_and_the_equation_says_so():
    settings = ObjectiveSettings(
        attention={"weight": 0}, hidden={"weight": 1, "final_weight": 0}, embedding={"weight": 0, "final_weight": 4}
    )
    objective = Objective(settings, shape(2, 8, 2), shape(4, 16, 2), CLASSES, label_terms=False)
    assert objective.equation() == (
        "loss = 1->0 * hidden [MSE(H_S W, H_T) over 2 layers] + 0->4 * embedding [MSE(E_S W, E_T)]"
    )
    terms = {"hidden": 10.0, "embedding": 1.0}
    assert [float(objective.total(terms, p)) for p in (0.0, 0.25, 1.0)] == [10.0, 8.5, 4.0]


@pytest.mark.parametrize(
    ("settings", "kind", "message"),
    [
        ({"projection": "none"}, "classification", "states 8 and 16 wide cannot be compared"),
        ({"soft_label": {"loss": "kl"}}, "regression", "a regression model has none"),
        ({"soft_label": {"loss": "mse", "temperature": 2.0}}, "classification", "temperature 2 has no meaning"),
        ({"soft_label": {"standardize": True}}, "regression", "loss .mse. of regression has none"),
        ({"dist": {"weight": 1.0}}, "token_classification", "dist compares distributions over a row's labels"),
        ({"dkd": {"weight": 1.0}}, "regression", "dkd compares distributions over a row's labels"),
        ({"soft_label": {"loss": "cosine"}}, "classification", "compares vectors, a classification model has none"),
        ({"soft_label": {"loss": "kl"}}, "embedding", "compares distributions, a embedding model has none"),
        (
            {"soft_label": {"temperature": 2.0}},
            "embedding",
            "temperature 2 has no meaning for soft label loss 'cosine'",
        ),
        ({"similarity": {"weight": 1.0}}, "classification", "a classification model gives none"),
    ],
)
def test_impossible_pairings_are_refused(settings, kind, message):
    with pytest.raises(InputError, match=message):
        Objective(ObjectiveSettings(**settings), shape(2, 8, 2), shape(4, 16, 2), KINDS[kind], label_terms=True)


def test_without_a_projection_equal_widths_are_compared_as_they_are():
    paddle.seed(7)
    settings = ObjectiveSettings(projection="none")
    model = classifier(2, 8, 2)
    objective = Objective(settings, model.config, model.config, CLASSES, label_terms=False)
    student, teacher = DistilledStudent(model, objective, 8), Teacher(model, objective.needs("teacher"))
    inputs = batch()
    student.eval()
    assert not len(student.projections)
    terms = objective(student(**inputs), teacher(inputs), inputs["attention_mask"])
    assert all(float(value) == pytest.approx(0.0, abs=1e-6) for value in terms.values())


def test_a_row_without_a_label_has_the_teachers_answer_as_the_target():
    objective = Objective(ObjectiveSettings(dkd={"weight": 1.0}), shape(2, 8, 2), shape(4, 16, 2), CLASSES, True)
    term = next(term for term in objective.terms if term.name == "dkd")
    own, given = (Captured(logits=paddle.to_tensor(np.log(rows))) for rows in ([[0.2, 0.3, 0.5]], [[0.1, 0.7, 0.2]]))
    named, bare = (float(term.value(own, given, None, paddle.to_tensor([label]))) for label in (1, -100))
    assert named == pytest.approx(bare) and named != float(term.value(own, given, None, paddle.to_tensor([0])))
    assert "1 * dkd [T^2 (1 KL of target + 8 KL of others); T=1]" in objective.equation()


def test_the_equation_of_sentence_vectors():
    settings = ObjectiveSettings(similarity={"weight": 2.0, "temperature": 0.1}, attention={"weight": 0})
    objective = Objective(settings, shape(2, 8, 2), shape(4, 16, 2), KINDS["embedding"], label_terms=True)
    assert objective.equation().endswith(
        "1 * soft_label [1 - cos(v_T, v_S)] + 2 * similarity [KL(cos_T || cos_S; T=0.1) in the batch] "
        "+ 1 * hard_label [loss of similarities(labels, student)]"
    )
    labels = np.array([[0, 1, -1, 0], [1, 1, -1, 0], [0, np.nan, -1, 1]], np.float32)
    counts = objective.counts(paddle.ones([3, 4]), paddle.to_tensor(labels)).tolist()
    assert counts == [12.0, 12.0, 3.0, 3.0, 1.0], "tokens, tokens, texts, texts, labelled rows"


def test_counts_are_what_each_term_is_a_mean_over():
    settings = ObjectiveSettings(attention={"loss": "mse"})
    objective = Objective(settings, shape(2, 8, 2), shape(4, 16, 2), CLASSES, label_terms=True)
    mask = paddle.to_tensor([[1.0, 1.0, 1.0], [1.0, 0.0, 0.0]])
    counts = objective.counts(mask, paddle.to_tensor([1, -100])).tolist()
    # attention: 9 + 1 pairs; hidden and embedding: 4 tokens; soft label: 2 rows; hard label: 1 labelled row
    assert dict(zip([term.name for term in objective.terms], counts, strict=True)) == {
        "attention": 10.0,
        "hidden": 4.0,
        "embedding": 4.0,
        "soft_label": 2.0,
        "hard_label": 1.0,
    }
    weighted = Objective(
        settings, shape(2, 8, 2), shape(4, 16, 2), CLASSES, label_terms=True, class_weights=[1.0, 0.25]
    )
    assert weighted.counts(mask, paddle.to_tensor([1, -100])).tolist() == [10.0, 4.0, 4.0, 2.0, 0.25]
    assert "hard_label [CE(labels, student), weighted by class]" in weighted.equation()


def test_a_model_that_is_built_otherwise_is_refused():
    from paddlenlp.transformers import AlbertConfig, AlbertModel

    config = AlbertConfig(vocab_size=20, embedding_size=4, hidden_size=8, num_attention_heads=2, intermediate_size=8)
    with pytest.raises(InputError, match="the states of AlbertModel cannot be read"):
        Capture(AlbertModel(config), Needs(hidden=(1,)))


def test_projections_are_taken_over_for_the_layers_that_both_stages_compare(tmp_path):
    def student(**settings):
        made = classifier(2, 8, 2)
        objective = Objective(ObjectiveSettings(**settings), made.config, shape(4, 16, 2), CLASSES, label_terms=False)
        return DistilledStudent(made, objective, 16)

    before, after = student(), student(embedding={"weight": 0})
    kept, file = before.projection_arrays(), tmp_path / "projections.safetensors"
    save_file(kept, str(file))
    start = after.projection_arrays()
    assert 0 < len(start) < len(kept), "without the embedding term there is one layer less to compare"
    after.load_projections(tmp_path)
    for name, value in after.projection_arrays().items():
        np.testing.assert_array_equal(value, kept[name])
        assert not np.array_equal(value, start[name])
    save_file({name: np.ascontiguousarray(value[:4]) for name, value in kept.items()}, str(file))
    with pytest.raises(InputError, match=r"projection .* has shape \(4, 16\), this student needs \(8, 16\)"):
        after.load_projections(tmp_path)
