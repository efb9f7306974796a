"""The model card: a header that a hub reads, and a text in which no name of the user's can be markup."""

import json
import re
from dataclasses import replace

import pytest
import yaml
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt
from pydantic import ValidationError

from paddle_ernie_tiny.config.card_settings import CardSettings
from paddle_ernie_tiny.deploy.bundle import read_manifest
from paddle_ernie_tiny.deploy.card import CardSubject, _card, _derived, facts_of, write_transformers_card
from paddle_ernie_tiny.errors import InputError
from paddle_ernie_tiny.kinds import KINDS

HOSTILE = [
    "a\n---\nlicense: mit",
    "x: {y: [1, 2]} # no",
    "'\"&*!%@`---",
    "<script>alert(1)</script>",
    "](http://evil.example) ![x](y)",
    "a|b\n| c | d |",
    "# heading\n\n- list\n> quote",
    "```\ncode",
    "x` <b>y</b> [z](http://evil.example) `",
    "**bold** _em_ ~~gone~~ $x$",
    "<!-- /this folder -->",
    "<!-- this folder -->",
    "www.evil.example {{ 7 * 7 }} {% raw %}",
    "\u2028line\u0085next",
]


def a_subject(**changes) -> CardSubject:
    subject = CardSubject(
        form="bundle",
        kind=KINDS["classification"],
        task="reviews",
        labels=["bad", "good"],
        parameters=11_400_000,
        mb=45.6,
        checks=["Logits agree."],
        versions={"paddlepaddle": "3.1.1"},
        pair=False,
        max_length_tokens=128,
    )
    return replace(subject, **changes)


def some_facts(text: str = "reviews", **card) -> dict:
    """What a run knows; `text` is in the place of every name that a user can choose."""
    scores = {"params": 100_000_000, "score": 0.9, "rows": 60, "rows_unseen": 0, "all": "0.90 (0.84–0.94)"}
    scores |= {"unseen": "–", "more_tests": {text: 0.7}, "tests": {text: "0.7000"}}
    start = {"method": "folder", "name": text}
    sizes = {"num_hidden_layers": 4, "hidden_size": 312, "num_attention_heads": 12}
    stage = {"name": "general", "teacher": "pretrained", "data": "general", "equation": f"loss = {text}", "steps": 5}
    splits = {"train": {"name": text, "rows": 100}, "dev": {"name": text, "rows": 60}}
    table = [text, text, [text, "p50 ms"], [[text, "1.00"]]]
    known = {"name": text, "license": None, "language": None, "base_model": None, "datasets": []}
    return {
        **{"task": text, "metric": "accuracy", "evaluated_on": "dev", "retention": "100%", "seed": 1},
        "card": {**known, **card},
        "teacher": {**scores, "origin": "folder", "name": text, "finetuned": True},
        "baseline": None,
        "floor": {"params": 2_000_000, "score": 0.81, "all": "0.81 (0.70–0.89)", "unseen": "–"},
        "student": {**scores, **sizes, "start": start},
        "fidelity": {"agreement": 0.99, "pearson": None, "rows": 60},
        "stages": [{**stage, "score": 0.8, "score_kind": "linear probe"}],
        "int8": None,
        "data": {
            **{"set": {"name": text, "type": text}, "source": text, "splits": splits},
            **{"general_corpus": text, "augmented": 7},
        },
        "speed": {"cpu": text, "cores": 2, "tables": [table], "warnings": [text]},
        "warnings": [{"where": text, "what": text}],
    }


def header_of(card: str) -> dict:
    return yaml.safe_load(re.match(r"\A---\n(.*?\n)---\n", card, re.DOTALL).group(1))


def markup(card: str) -> list[tuple[str, str, str]]:
    """Every element of the rendered text but for what is read as it is: (type, tag, address)."""
    body = card.split("---\n", 2)[2]
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(body)
    inner = [child for token in tokens for child in token.children or []]
    found = [(token.type, token.tag, str(token.attrs.get("href", ""))) for token in [*tokens, *inner]]
    return [entry for entry in found if entry[0] not in ("text", "code_inline", "text_special")]


@pytest.mark.parametrize("text", HOSTILE)
def test_no_name_is_markup_or_breaks_the_header(text):
    plain = _card(some_facts("plain"), a_subject(task="plain", labels=["plain", "good"], checks=["plain"]))
    card = _card(some_facts(text), a_subject(task=text, labels=[text, "good"], checks=[text]))
    assert markup(card) == markup(plain)
    header, folded = header_of(card), " ".join(text.split())
    assert header.keys() == header_of(plain).keys() and "license" not in header
    assert header["model-index"][0]["name"] == folded
    assert ModelCard(card).data.to_dict().keys() == header_of(plain).keys(), "as the hub's own library reads it"
    assert "49" not in card


def test_a_share_of_a_teacher_at_chance_is_not_given():
    card = _card({**some_facts(), "retention": None}, a_subject())
    assert "The student keeps" not in card and "No share of the teacher's accuracy is given" in card
    assert "in 1 stage by" in card


def test_scores_have_their_intervals_and_the_floor_a_row():
    card = _card(some_facts(), a_subject())
    assert "| **distilled student** | 100.00 M | 0.90 (0.84–0.94) | – |\n" in card
    assert "| floor (linear model on n-grams) | 2.00 M | 0.81 (0.70–0.89) | – |\n" in card
    assert "keeps 100% of the teacher's accuracy" in card
    assert "floor" not in _card({**some_facts(), "floor": None}, a_subject())


@pytest.mark.parametrize("text", HOSTILE)
def test_another_form_of_the_model_changes_only_its_own_part(text):
    card = _card(some_facts(text), a_subject(labels=[text, "good"]))
    int8 = a_subject(labels=[text, "good"], precision="int8", scored=("accuracy", 0.5, 40))
    derived = _derived(card, int8)
    assert _derived(derived, a_subject(labels=[text, "good"])).partition("\n# ")[2] == card.partition("\n# ")[2]
    (result,) = header_of(derived)["model-index"][0]["results"]
    assert result["dataset"]["split"] == "dev" and result["dataset"]["args"] == {"rows": 40}
    assert result["metrics"] == [{"type": "accuracy", "name": "accuracy", "value": 0.5}]
    assert "int8" in header_of(derived)["tags"] and "Paddle Inference, int8" in derived


def test_a_readme_of_the_users_own_is_kept_and_gets_the_part_on_the_folder():
    own = "# Mine\n\nText.\n"
    derived = _derived(own, a_subject(form="onnx"))
    assert derived.startswith(own) and "ONNX Runtime" in derived
    edited = _card(some_facts(), a_subject()).replace("model-index:", "model-index: 3\nother:")
    scored = a_subject(scored=("accuracy", 0.5, 40))
    assert _derived(edited, scored).startswith(edited.rstrip()), "a header that is another one now"


def test_the_header_has_what_is_given_and_the_hub_reads_its_results():
    given = {"language": "zh", "license": "apache-2.0", "base_model": "ernie-3.0-base-zh", "datasets": ["clue"]}
    card = _card(some_facts(**given), a_subject())
    data = ModelCard(card).data
    assert (data.language, data.license, data.base_model, data.datasets) == tuple(given.values())
    assert data.pipeline_tag == "text-classification" and data.library_name == "paddle_ernie_tiny"
    main, more = data.eval_results
    assert (main.metric_type, main.metric_value, main.dataset_split) == ("accuracy", 0.9, "dev")
    assert main.dataset_args == {"rows": 60} and (more.dataset_split, more.metric_value) == ("reviews", 0.7)
    assert "- Licence: `apache-2.0`" in card and "- Language: `zh`" in card


def test_what_is_not_known_is_not_stated():
    for facts in (None, some_facts()):
        card = _card(facts, a_subject())
        assert not {"license", "language", "base_model", "datasets"} & header_of(card).keys()
        assert "- Licence: not stated" in card and "- Language: not stated" in card
    assert "model-index" not in header_of(_card(None, a_subject()))
    lost = some_facts()
    lost["student"].update(score=None, more_tests={})  # a metric that was no number
    assert "model-index" not in header_of(_card(lost, a_subject()))


@pytest.mark.parametrize(("kind", "labels"), [("regression", ["score"]), ("token_classification", ["O", "B-X", "I-X"])])
def test_a_folder_for_transformers(tmp_path, kind, labels):
    (tmp_path / "model.safetensors").write_bytes(b"x" * 2_000_000)
    parity = {"rows": 8, "max_abs_diff": 3e-7, "label_agreement": 1.0}
    for compared in (None, parity):
        path = write_transformers_card(tmp_path, tmp_path, KINDS[kind], labels, 1000, compared, {"transformers": "5"})
    card = path.read_text(encoding="utf-8")
    header = header_of(card)
    assert header["library_name"] == "transformers" and header["pipeline_tag"] == KINDS[kind].pipeline_tag
    assert "2.0 MB" in card and "by at most 3e-07 on 8 rows" in card and f"AutoModel{KINDS[kind].head}" in card
    assert ("labels agree" in card) == (kind != "regression")


def test_a_folder_that_is_no_student_of_a_run_has_no_facts(tmp_path):
    assert facts_of(tmp_path) is None and facts_of("/") is None


def test_the_card_of_every_kind_of_bundle_is_in_its_manifest(bundles):
    for name, folder in bundles.items():
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        card = (folder / "README.md").read_text(encoding="utf-8")
        assert "README.md" in manifest["files"] and header_of(card)["library_name"] == "paddle_ernie_tiny", name
        assert ("two texts" in card) == manifest["task_type"].startswith("pair_")
        assert str(folder.parent) not in card
        assert ("Settings of the kind of task" in card) == bool(read_manifest(folder).kind.settings.__dict__), name


def test_a_bundles_card_has_what_was_learnt_on_dev():
    kind = KINDS["multi_label"].with_settings({"thresholds": 0.375})
    card = _card(None, a_subject(kind=kind))
    assert "with what was learnt on dev: " in card and "`thresholds: 0.375`" in card
    assert "Settings of the kind" not in _card(None, a_subject(kind=kind, form="transformers"))


@pytest.mark.parametrize(
    "wrong",
    [
        {"license": "/home/me/LICENSE"},
        {"license": "a\nb"},
        {"language": "Chinese"},
        {"base_model": "/models/ernie"},
        {"base_model": "a/b/c"},
        {"datasets": ["../data"]},
        {"name": " "},
        {"name": "a\x00b"},
        {"licence": "mit"},
    ],
)
def test_settings_that_no_hub_reads_are_refused(wrong):
    with pytest.raises(ValidationError):
        CardSettings(**wrong)


def test_what_a_run_of_another_version_says_is_refused_by_its_place():
    old = some_facts()
    del old["student"]["all"]  # renamed since
    with pytest.raises(InputError, match="another version of the toolkit") as refused:
        _card(old, a_subject())
    assert refused.value.where == "data/card/done.json" and "run its configuration again" in refused.value.remedy
