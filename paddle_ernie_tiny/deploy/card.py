"""The model card: README.md with a hub's YAML header, in a bundle and in what is exported for other libraries.

What the run knows comes as `Facts` (pipeline/card_facts.py); without them the card has what the folder itself says. The
part between two comments is of this folder alone (form, size, parity); whoever makes another form of the model from a
folder keeps the card and writes that part again.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .. import __version__
from ..engines import ENGINES, ONNX_FILE, PADDLE_FILES
from ..errors import InputError
from ..files import write_text
from ..kinds import Kind
from ..seals import read_seal
from .bundle import Manifest, PrunedVocabulary, write_manifest

CARD = "README.md"
RECORD = Path("data", "card", "done.json")  # in a run folder: the record of the step that made the card
Facts = dict[str, Any]  # what a finished run knows of its student, as JSON values
_BEGIN, _END = "<!-- this folder -->", "<!-- /this folder -->"
_HEADER = re.compile(r"\A---\n(.*?\n)---\n", re.DOTALL)
_MARKUP = re.compile(r"[\\`*_{}\[\]<>#|!~&$^]|:(?=//)|(?<=[Ww]{3})\.")
_PLAIN = re.compile(r"[^\s`|\x00-\x1f\x7f-\x9f]+( [^\s`|\x00-\x1f\x7f-\x9f]+)*")  # is safe between backticks
_MOST_LABELS = 50
_NOTHING = "nothing that can have int8"
# the library that loads it, and its tags
_FORMS = {
    "bundle": ("paddle_ernie_tiny", "paddlepaddle"),
    "onnx": ("onnxruntime", "onnx"),
    "transformers": ("transformers",),
}
_FORM_TAGS = {tag for _, *tags in _FORMS.values() for tag in tags}


@dataclass(frozen=True)
class CardSubject:
    """The model that a card is about, in one of its forms: "bundle", "onnx" or "transformers"."""

    form: str
    kind: Kind
    task: str
    labels: list[str]
    parameters: int
    mb: float  # of the weights and the graph
    checks: list[str]  # sentences: how its answers were compared, and what was found
    versions: dict[str, str]
    precision: str = "fp32"
    pair: bool | None = None  # None: not known
    max_length_tokens: int | None = None
    long_text: str = "truncate"
    scored: tuple[str, float, int] | None = None  # own value (metric, value, rows): precision, or pruned vocabulary
    split: str = "dev"  # of these rows

    @property
    def settings(self) -> dict[str, str]:
        """The settings of a bundle's kind of task, with what was learnt on dev, as JSON; transformers knows none."""
        given = {} if self.form == "transformers" else asdict(self.kind.settings)
        return {name: json.dumps(value, ensure_ascii=False) for name, value in given.items() if value is not None}


def facts_of(checkpoint: str | os.PathLike) -> Facts | None:
    """What a finished run knows of the student in its last stage's `final/`; None for any other folder.

    Raises DamageError if the run's records are damaged.
    """
    folder = Path(checkpoint).resolve()
    root = folder.parent.parent.parent
    card, stage = (read_seal(path, files=False) for path in (root / RECORD, folder.parent / RECORD.name))
    if folder.name != "final" or card is None or stage is None:
        return None
    return card["inputs"]["facts"] if card["inputs"]["upstream"]["student"] == stage["id"] else None


def describe_bundle(folder: Path, manifest: Manifest, facts: Facts | None = None) -> None:
    """Writes the folder's card, then its manifest. Without `facts`, a card that is there already is kept but for the
    part on this folder: that of the bundle from which this one was made."""
    path = folder / CARD
    subject, source = _subject_of(folder, manifest), path.read_text("utf-8", "replace") if path.is_file() else None
    write_text(path, _card(facts, subject) if source is None or facts is not None else _derived(source, subject))
    write_manifest(folder, manifest)


def write_transformers_card(
    folder: str | os.PathLike,
    checkpoint: str | os.PathLike,
    kind: Kind,
    labels: list[str],
    parameters: int,
    parity: dict[str, Any] | None,
    versions: dict[str, str],
) -> Path:
    """Writes README.md into a folder for transformers that was made from `checkpoint`; returns its path.

    Of the last stage of a finished run it says all that the run's bundle says. parity: `rows`, `max_abs_diff` and
    `label_agreement` against the Paddle model; None: not compared. Raises DamageError for damaged records of the run.
    """
    facts, path = facts_of(checkpoint), Path(folder) / CARD
    checks = ["Not compared with the Paddle model that it was made from."]
    if parity is not None:
        checks = [_agreement("PyTorch", "Paddle", kind, parity)]
    mb = sum(file.stat().st_size for file in path.parent.glob("*.safetensors")) / 1e6
    task = facts["task"] if facts else kind.name
    write_text(path, _card(facts, CardSubject("transformers", kind, task, labels, parameters, mb, checks, versions)))
    return path


def _subject_of(folder: Path, manifest: Manifest) -> CardSubject:
    own = [folder / name for name in PADDLE_FILES if (folder / name).is_file()]
    form, graphs = ("bundle", own) if own else ("onnx", [folder / ONNX_FILE])
    parity, scored, split, checks = manifest.parity, None, "dev", []
    if manifest.precision != "fp32":
        scored = (manifest.metric, float(parity[f"metric_{manifest.precision}"] or 0), int(parity["rows"] or 0))
        checks += _lower_sentences(manifest)
    elif parity and form == "bundle":
        checks.append(_agreement("Paddle Inference", "the trained model", manifest.kind, parity))
    if manifest.precision == "fp32":
        for name, figures in (manifest.engines or ({"onnxruntime": parity} if form == "onnx" else {})).items():
            checks.append(_agreement(ENGINES[name].title, "Paddle Inference", manifest.kind, figures))
    if manifest.vocabulary is not None:
        checks.insert(0, pruned_sentence(manifest.vocabulary, manifest.metric))
        if scored is None:
            splits = manifest.vocabulary["splits"]
            split = "test" if "test" in splits else next(iter(splits))
            part = splits[split]
            scored = (manifest.metric, part["score_after"], part["rows"])
    return CardSubject(
        form,
        manifest.kind,
        manifest.task,
        manifest.labels,
        manifest.parameters,
        sum(file.stat().st_size for file in graphs) / 1e6,
        checks,
        manifest.versions,
        manifest.precision,
        manifest.pair,
        manifest.max_length_tokens,
        manifest.reading,
        scored,
        split,
    )


def _agreement(one: str, other: str, kind: Kind, parity: dict[str, Any]) -> str:
    allowed = f" (allowed: {parity['tolerance']:g})" if parity.get("tolerance") is not None else ""
    figures = f"by at most {parity['max_abs_diff']:.2g} on {parity['rows']:.0f} rows{allowed}"
    agreed = f"; labels agree on {parity['label_agreement']:.2%}" if kind.has_labels else ""
    return f"Logits of {one} differ from those of {other} {figures}{agreed}."


def pruned_sentence(pruned: PrunedVocabulary, metric: str) -> str:
    """What was left out of a bundle's vocabulary, and what that changes, for people."""
    changed = "; ".join(
        f"{name}: {part['rows_changed']} of {part['rows']} rows have such a token, {metric} {part['score_before']:.4f} "
        f"before and {part['score_after']:.4f} after"
        for name, part in pruned["splits"].items()
    )
    kept = f"The vocabulary is pruned: {pruned['tokens_after']} of {pruned['tokens_before']} tokens are kept"
    return f"{kept}; in other texts words are cut into other tokens, or are unknown. In fp32, {changed}."


def _lower_sentences(manifest: Manifest) -> list[str]:
    """How int8 or bf16 was compared with fp32 in each engine, and what is left in fp32."""
    found, made, own = [], manifest.quantization or {}, f"metric_{manifest.precision}"
    for name, parity in manifest.figures.items():
        agreed = parity.get("label_agreement")
        found.append(
            f"{manifest.precision} in {ENGINES[name].title}: {manifest.metric} {parity[own]:.4f} against "
            f"{parity['metric_fp32']:.4f} in fp32 on {parity['rows']:.0f} dev rows "
            f"(it may lose {parity['max_drop_points']:g} points)"
            + ("." if agreed is None else f"; labels agree on {agreed:.2%}.")
        )
    if manifest.precision == "int8":
        left = [", ".join(graph.get("fp32") or []) or _NOTHING for graph in (made, made.get("onnx") or made)]
        found.append(
            f"Left in fp32: {left[0]}{f' (of {ONNX_FILE}: {left[1]})' if left[0] != left[1] else ''}. Calibrated on "
            f"{made.get('calibration_rows')} rows, compared on a CPU "
            f"{'with' if made.get('gated_on_vnni') else 'without'} VNNI; kernels of other CPUs round differently."
        )
    if aware := made.get("quantization_aware"):
        found.append(f"It was trained for int8 in {aware['steps']} steps, on from the student in fp32.")
    return found


# --- the header ----------------------------------------------------------------------------------------------------


def _header(facts: Facts | None, subject: CardSubject) -> dict[str, Any]:
    """What is known, in the hub's keys; of this form in `_of_form`."""
    card = facts["card"] if facts else {}
    values = {key: card.get(key) for key in ("language", "license", "base_model", "datasets")}
    tags = ["ernie-tiny", "distillation", subject.kind.name.replace("_", "-")]
    values |= {"tags": tags if facts else tags[2:], "pipeline_tag": subject.kind.pipeline_tag}
    if facts and (results := list(_results(facts, subject))):
        values["model-index"] = [{"name": card["name"], "results": results}]
    return {key: value for key, value in values.items() if value}


def _results(facts: Facts, subject: CardSubject) -> Iterator[dict[str, Any]]:
    task = {"type": subject.kind.pipeline_tag, "name": facts["task"]}
    main = {"split": facts["evaluated_on"], "args": {"rows": facts["student"]["rows"]}}
    sets = {"": (main, facts["student"]["score"])}
    sets |= {name: ({"split": name}, score) for name, score in facts["student"]["more_tests"].items()}
    for more, score in sets.values():
        if score is not None:
            metric = {"type": facts["metric"], "name": facts["metric"], "value": score}
            yield {"task": task, "dataset": {**facts["data"]["set"], **more}, "metrics": [metric]}


def _of_form(values: dict[str, Any], subject: CardSubject) -> dict[str, Any]:
    """The header for this form of the model: its library and tags, and of int8 and bf16 their own score, not fp32's."""
    library, *named = _FORMS[subject.form]
    tags = [tag for tag in values.get("tags", []) if tag not in _FORM_TAGS] + named
    tags += [subject.precision] * (subject.precision != "fp32")
    values = {**values, "tags": [*dict.fromkeys(tags)], "library_name": library}
    if subject.scored and "model-index" in values:
        (model,) = values["model-index"]
        metric, value, rows = subject.scored
        first = model["results"][0]
        dataset = {**first["dataset"], "split": subject.split, "args": {"rows": rows}}
        own = {"task": first["task"], "dataset": dataset}
        values["model-index"] = [
            {**model, "results": [{**own, "metrics": [{"type": metric, "name": metric, "value": value}]}]}
        ]
    return values


def _yaml(values: dict[str, Any]) -> str:
    import yaml

    text = yaml.safe_dump(_on_one_line(values), allow_unicode=True, sort_keys=False, width=math.inf)
    return f"---\n{text}---\n"


def _on_one_line(value: Any) -> Any:
    """Texts with their white space folded: a line of three dashes in one would end the header for some readers."""
    if isinstance(value, dict):
        return {key: _on_one_line(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_on_one_line(inner) for inner in value]
    return " ".join(value.split()) if isinstance(value, str) else value


# --- the text ------------------------------------------------------------------------------------------------------


def _card(facts: Facts | None, subject: CardSubject) -> str:
    from jinja2 import UndefinedError

    name = facts["card"]["name"] if facts else subject.task
    try:
        text = _rendered("card.md.j2", f=facts, s=subject, name=name, own=_own_part(subject))
    except UndefinedError as error:
        if facts is None:
            raise
        what = f"what the run says of its student is of another version of the toolkit ({error})"
        remedy = "run its configuration again with this version, or give a copy of final/ outside of the run"
        raise InputError(what, str(RECORD), remedy) from None
    return _yaml(_of_form(_header(facts, subject), subject)) + text


def _own_part(subject: CardSubject) -> str:
    return f"{_BEGIN}\n\n{_rendered('card_form.md.j2', s=subject)}\n{_END}\n"


def _derived(source: str, subject: CardSubject) -> str:
    """Another folder's card for this one. A card with no such part (the user's own) is kept, and gets it at its end."""
    import yaml

    own, header = _own_part(subject), _HEADER.match(source)
    body = source[header.end() :] if header else ""
    before, begin, rest = body.partition(f"{_BEGIN}\n")
    _, end, after = rest.partition(f"{_END}\n")
    try:
        if header and begin and end:
            return _yaml(_of_form(yaml.safe_load(header.group(1)), subject)) + before + own + after
    except (yaml.YAMLError, AttributeError, LookupError, TypeError, ValueError):
        pass  # a header that was edited by hand, and holds something else now
    return f"{source.rstrip()}\n\n{own}"


def _rendered(template: str, **values: Any) -> str:
    """A template of Markdown. Every text in it is escaped, unless a filter of this module has made it."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("paddle_ernie_tiny.deploy", "templates"),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
        finalize=lambda value: _escaped(value) if isinstance(value, str) else value,
    )
    environment.filters.update(
        code=_code,
        codes=lambda texts: _Markdown(", ".join(_code(text) for text in texts)),
        line=lambda text: _Markdown(" ".join(str(text).split())),
        trusted=_Markdown,
        percent=lambda value: "–" if value is None else f"{value:.2%}",
        score=lambda value: "–" if value is None else f"{value:.4f}",
        small=lambda value: "–" if value is None else f"{value:.3g}",
        millions=lambda value: f"{value / 1e6:.2f} M",
    )
    shown = {"version": __version__, "most_labels": _MOST_LABELS}
    return environment.get_template(template).render(**shown, **values)


class _Markdown(str):
    """Text that is Markdown already."""


def _escaped(text: str) -> _Markdown:
    """A text of one line in which nothing is Markdown, HTML or an address."""
    if isinstance(text, _Markdown):
        return text
    return _Markdown(_MARKUP.sub(lambda found: "\\" + found.group(), re.sub(r"\s+", " ", text)))


def _code(text: Any) -> _Markdown:
    """A name as code, or escaped if it holds what ends code or a table's cell."""
    text = " ".join(str(text).split())
    return _Markdown(f"`{text}`") if _PLAIN.fullmatch(text) else _escaped(text or json.dumps(text))
