"""Hostile configurations: YAML text and overrides, read as `ernie-tiny validate` reads them."""

from __future__ import annotations

import copy
import math
import os
import random
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from hypothesis import strategies as st

from .commands import ROOT
from .generated import draw, from_schema, hostile
from .harness import Outcome, Part
from .hostile_yaml import OVERRIDES, RAW
from .sandbox import judge_error, sandboxes

_BLOCK = 100  # generated configurations that are drawn together
_RENAMED = ["x", "TASK", 7, None, True, "extends", "__class__", "model_config", "", "stage"]


class Configurations(Part):
    """A case is YAML text, or an override of the demo; half of them by hand, the others from the schema."""

    name, unit, whole = "config", "configurations", 2000
    bar = "2,000 configurations: no traceback or bare error, none over 5 s or 1 GB, no nonsense taken"

    def cases(self, count: int) -> list[dict[str, Any]]:
        """As many of those by hand as fill half, then generated ones."""
        by_hand = [{"raw": name} for name in RAW] + [{"override": number} for number in range(len(OVERRIDES))]
        random.Random(f"config {self.seed}").shuffle(by_hand)
        by_hand = by_hand[: count // 2]
        return by_hand + [{"generated": number} for number in range(count - len(by_hand))]

    @contextmanager
    def opened(self) -> Iterator[None]:
        """A small copy of the demo's data, and the generated configurations."""
        folder = self.work / "config"
        for old in self.work.glob("config*"):
            shutil.rmtree(old)
        data = folder / "examples" / "data" / "demo"
        (data / "general").mkdir(parents=True)
        for source in sorted((ROOT / "examples" / "data" / "demo").rglob("*.*")):
            lines = source.read_text(encoding="utf-8").splitlines(keepends=True)[:60]
            (data / source.relative_to(ROOT / "examples" / "data" / "demo")).write_text(
                "".join(lines), encoding="utf-8"
            )
        shutil.copy(ROOT / "configs" / "demo.yaml", folder / "base.yaml")
        scores = "".join(f"第{number}句\t{number / 7:.2f}\n" for number in range(40))
        (folder / "scores.tsv").write_text(f"text\tlabel\n{scores}", encoding="utf-8")
        (folder / "tags.bio").write_text("北 B-LOC\n京 I-LOC\n很 O\n大 O\n\n" * 20, encoding="utf-8")
        (folder / "bad_stages.yaml").write_text("stages: [abc, 3, [1]]\n", encoding="utf-8")
        self.generated: list[Any] = []
        self.folder = folder
        with sandboxes(self.workers, __name__, str(folder)) as self.sandboxes:
            yield

    def attack(self, case: dict[str, Any]) -> Outcome:
        """Reads one configuration in a sandbox."""
        content, overrides = self._content(case)
        sandbox = self.sandboxes.get()
        try:
            outcome = sandbox.attempt((content, overrides))
        finally:
            self.sandboxes.put(sandbox)
        outcome.detail = f"{case.get('raw') or overrides or 'generated'}: {outcome.detail}"[:600]
        outcome.keep = {"config.yaml": content, "override.txt": "\n".join(overrides).encode("utf-8", "surrogatepass")}
        return outcome

    def _content(self, case: dict[str, Any]) -> tuple[bytes, list[str]]:
        if "raw" in case:
            return RAW[case["raw"]], []
        if "override" in case:
            return (ROOT / "configs" / "demo.yaml").read_bytes(), [OVERRIDES[case["override"]]]
        block, place = divmod(case["generated"], _BLOCK)
        with self.sandboxes.mutex:  # blocks are drawn when the first of their cases comes up
            while len(self.generated) <= block:
                self.generated.append(None)
            if self.generated[block] is None:
                self.generated[block] = draw(configurations(), _BLOCK, f"config {self.seed} {block}")
        return self.generated[block][place], []


def bases() -> list[dict[str, Any]]:
    """Valid configurations of several shapes, on the demo's files."""
    from paddle_ernie_tiny.config.strict_yaml import parse_yaml  # not PyYAML, to which 1e-4 is text

    demo = parse_yaml((ROOT / "configs" / "demo.yaml").read_text(encoding="utf-8"), "demo.yaml")
    pretrain = demo["teacher"]["pretrain"]
    full = copy.deepcopy(demo)
    full["augmentation"] = {"copies_per_row": 2, "replace_probability": 0.4, "language": "zh"}
    full["export"] = {"rows": 8, "tolerance": 1e-3, "int8": {"calibration_rows": 8, "keep_fp32": ["head"]}}
    full["benchmark"] = {"batches": [1], "lengths": [32], "threads": [1], "engines": ["paddle"], "seconds": 0.5}
    full["objective"] = {"layer_map": "uniform", "attention": {"weight": 1.0}, "soft_label": {"temperature": 2.0}}
    several = copy.deepcopy(demo)
    several["students"] = {"a": several.pop("student"), "b": dict(pretrain["shape"], num_hidden_layers=1)}
    regression = copy.deepcopy(demo)
    regression["task"] = {"name": "scores", "kind": "regression", "metric": "pearson", "max_length_tokens": 40}
    regression["data"] = {"train": "scores.tsv", "dev": "scores.tsv", "columns": {"text": "text", "label": "label"}}
    tags = copy.deepcopy(demo)
    tags["task"] = {"name": "tags", "kind": "token_classification", "max_length_tokens": 40}
    tags["data"] = {"train": "tags.bio", "dev": "tags.bio"}
    return [demo, full, several, regression, tags]


def configurations() -> st.SearchStrategy[bytes]:
    """YAML text: valid configurations with up to three changes, and values of the whole schema."""
    from paddle_ernie_tiny.config.schema import RunConfig

    schema = RunConfig.model_json_schema()
    whole = from_schema(schema, schema["$defs"])
    return st.one_of([changed(base) for base in bases()] * 2 + [whole]).map(as_yaml)


@st.composite
def changed(draw_one: Any, base: dict[str, Any]) -> Any:
    """The base with some values, keys or sections changed."""
    raw: Any = copy.deepcopy(base)
    rng = draw_one(st.randoms(use_true_random=True))  # places and actions evenly, which hypothesis does not aim at
    for _ in range(rng.choice([1, 1, 1, 1, 2, 3])):
        where = rng.choice(list(_paths(raw)) or [()])
        if not where:
            return draw_one(hostile)
        node, last = raw, where[-1]
        for part in where[:-1]:
            node = node[part]
        action = rng.choice(["value"] * 4 + ["near"] * 9 + ["delete", "rename", "extra", "wrap", "whole"])
        if action == "value":
            node[last] = draw_one(hostile)
        elif action == "near":
            node[last] = draw_one(_near(node[last]))
        elif action == "delete":
            del node[last]
        elif action == "wrap":
            node[last] = [node[last]]
        elif action == "whole":
            node[last] = copy.deepcopy(base)
        elif isinstance(node, dict):
            name = draw_one(st.sampled_from(_RENAMED))
            node[name] = node.pop(last) if action == "rename" else draw_one(hostile)
    return raw


def _near(value: Any) -> st.SearchStrategy[Any]:
    """Values of the same type, in and out of range."""
    if isinstance(value, bool) or value is None:
        return hostile
    if isinstance(value, int):
        return st.one_of(st.integers(1, 64), st.integers(-3, 600), st.integers())
    if isinstance(value, float):
        return st.one_of(st.floats(0.001, 0.9), st.floats())
    return st.text(st.characters(exclude_categories=()), max_size=30) if isinstance(value, str) else hostile


def _paths(node: Any, at: tuple = ()) -> Iterator[tuple]:
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        yield (*at, key)
        yield from _paths(value, (*at, key))


def as_yaml(value: Any) -> bytes:
    """As PyYAML writes it; lone surrogates as their bytes."""
    return yaml.safe_dump(value, allow_unicode=True, sort_keys=False).encode("utf-8", "surrogatepass")


def prepare(folder: str) -> Callable[[tuple[bytes, list[str]]], Outcome]:
    """In the sandbox: what reads a configuration and judges what was taken."""
    own = f"{folder}-{os.getpid()}"  # other sandboxes write too
    shutil.copytree(folder, own)
    os.chdir(own)
    from paddle_ernie_tiny.machine import import_paddle

    import_paddle()
    import jsonschema_rs

    from paddle_ernie_tiny.config import load_config
    from paddle_ernie_tiny.config.load import TASKS
    from paddle_ernie_tiny.config.schema import RunConfig
    from paddle_ernie_tiny.config.strict_yaml import parse_yaml
    from paddle_ernie_tiny.pipeline.preflight import preflight

    schema = jsonschema_rs.validator_for(RunConfig.model_json_schema())
    for raw in bases():  # also imports what is imported when it is used
        Path("f.yaml").write_bytes(as_yaml(raw))
        preflight(load_config("f.yaml"), lambda line: None)

    def attempt(value: tuple[bytes, list[str]]) -> Outcome:
        content, overrides = value
        Path("f.yaml").write_bytes(content)
        config = load_config("f.yaml", overrides)
        wrong = nonsense(config.model_dump())
        raw = None if overrides else parse_yaml(content.decode("utf-8-sig"), "f.yaml")
        if raw is not None and "extends" not in raw and raw["task"].get("name") not in TASKS and not wrong:
            try:
                fits = schema.is_valid(raw)
            except ValueError:  # no JSON, such as keys that are numbers
                fits = True
            wrong = "" if fits else "the schema refuses it"
        if wrong:
            return Outcome("nonsense", wrong)
        try:
            preflight(config, lambda line: None)
        except Exception as error:
            refused = judge_error(error)
            refused.detail = f"preflight: {refused.detail}"
            return refused
        return Outcome("accepted")

    return attempt


_SHARES = re.compile(r"probability$|_ratio$|_prob$|fraction|dev_from_train")


def nonsense(value: Any, path: str = "") -> str:
    """Why values of a checked configuration make no sense; "" if they do."""
    if isinstance(value, dict):
        labels = value.get("labels")
        if isinstance(labels, list) and (len(set(labels)) < len(labels) or not all(map(str.strip, map(str, labels)))):
            return f"{path}: labels {labels}"
        width, heads = value.get("hidden_size"), value.get("num_attention_heads")
        if isinstance(width, int) and isinstance(heads, int) and width % heads:
            return f"{path}: {heads} heads in a width of {width}"
        parts = [(key, part) for key, part in value.items()]
    else:
        parts = list(enumerate(value)) if isinstance(value, list | tuple) else []
    name = path.rpartition(".")[2]
    if isinstance(value, str):
        if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
            return f"{path}: {value!r}"
    elif isinstance(value, int | float) and not isinstance(value, bool):
        if not math.isfinite(value) or abs(value) > 1e12:
            return f"{path}: {value}"
        if _SHARES.search(name) and not 0 <= value <= 1:
            return f"{path}: {value} is no share"
        if name.endswith(("_size", "_steps", "_rows", "temperature")) and value < 0:
            return f"{path}: {value}"
    for key, part in parts:
        if found := nonsense(part, f"{path}.{key}".lstrip(".")):
            return found
    return ""
