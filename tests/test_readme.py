"""The README keeps its word: verbs, options, keys and files that it names exist, in both languages alike."""

import json
import re
import shlex

import pytest
import typer

from paddle_ernie_tiny.cli import app
from paddle_ernie_tiny.config import load_config

READMES = ("README.md", "README.zh-CN.md")


def verbs():
    return typer.main.get_command(app).commands


def code_blocks(text, language):
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


@pytest.fixture(params=READMES)
def readme(request, project_root):
    return (project_root / request.param).read_text(encoding="utf-8")


def test_every_verb_and_option_exists(readme):
    used = re.findall(r"ernie-tiny ([\w-]+)([^`\n]*)", readme)
    assert {verb for verb, _ in used} >= set(verbs())
    for verb, rest in used:
        assert verb in verbs(), verb
        known = {option for parameter in verbs()[verb].params for option in parameter.opts}
        for option in re.findall(r"--[a-z-]+", rest):
            assert option in known, f"{verb} {option}"


def test_every_linked_file_exists(readme, project_root):
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", readme):
        assert (project_root / target).exists(), target
    for path in re.findall(r"`((?:configs|examples|docs|tests)/[\w./-]+)`", readme):
        assert (project_root / path).exists(), path


def test_the_configuration_and_the_overrides_shown_load_as_they_are(readme, project_root, tmp_path):
    """As the reader has them: the file beside the shipped ones, the overrides as a shell passes them on."""
    shown = next(block for block in code_blocks(readme, "yaml") if block.startswith("# configs/my.yaml"))
    (tmp_path / "base").symlink_to(project_root / "configs" / "base")
    (tmp_path / "my.yaml").write_text(shown, encoding="utf-8")
    block = next(block for block in code_blocks(readme, "bash") if "ernie-tiny run configs/my.yaml" in block)
    overrides = [word for word in shlex.split(block, comments=True) if "=" in word]
    config = load_config(tmp_path / "my.yaml", overrides)
    assert config.teacher.finetune is None and config.data.source == "files"
    assert config.data.columns.text == "内容" and config.data.dev == "dev.xlsx"
    assert set(config.data.label_aliases.values()) == set(config.task.labels)


def test_both_languages_show_the_same_commands(project_root):
    english, chinese = (code_blocks((project_root / name).read_text(encoding="utf-8"), "bash") for name in READMES)

    def commands(blocks):
        lines = [line.split("  #")[0].strip() for block in blocks for line in block.splitlines()]
        return [re.sub(r"[^\x00-\x7f]+,?", "", line) for line in lines]

    assert commands(english) == commands(chinese)


def test_make_targets_shown_exist(readme, project_root):
    targets = re.findall(r"^([a-z]+):", (project_root / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    for target in re.findall(r"\bmake ([a-z]+)\b", readme):
        assert target in targets, target


def measured(folder, kind):
    return json.loads((folder / "result.json").read_text(encoding="utf-8"))[kind]


def test_the_table_of_speeds_is_what_was_measured(readme, project_root):
    """AVX2: Paddle's fp32 and int8. VNNI: the fastest engine, `auto` too; int8 against Paddle's fp32 teacher."""
    avx2, vnni = (project_root / "docs" / "results" / "speed" / name for name in ("epyc-avx2", "epyc-vnni"))
    table = readme.partition("<!-- speed-table -->")[2].partition("<!-- /speed-table -->")[0]
    rows = [[cell.strip() for cell in line.split("|")[2:-1]] for line in table.splitlines() if line.startswith("|")]
    records = [r for r in measured(vnni / "engines", "records") if r["length"] == 128]
    for batch, shown in ((1, rows[2]), (32, rows[3])):
        old = {
            r["precision"]: r["times_as_fast"]["median"]
            for r in measured(avx2 / "engines", "records")
            if (r["engine"], r["batch"], r["model"]) == ("paddle", batch, "4l-312h")
        }
        p50 = {
            (r["model"], r["precision"], r["engine"]): r["latency_ms"]["p50"] for r in records if r["batch"] == batch
        }
        same_engine = [
            r["times_as_fast"]["median"]
            for r in records
            if (r["batch"], r["model"], r["precision"]) == (batch, "4l-312h", "fp32") and r["engine"] != "auto"
        ]
        teacher = p50["bert-base", "fp32", "paddle"]
        fastest = {
            which: teacher / min(value for (model, *how), value in p50.items() if (model, how[0]) == ("4l-312h", which))
            for which in ("fp32", "int8")
        }
        fp32 = max(same_engine) if batch == 1 else fastest["fp32"]
        assert shown == [f"{old['fp32']:.1f}", f"{old['int8']:.1f}", f"{fp32:.1f}", f"{fastest['int8']:.0f}"], batch
    ratios = [
        {
            r["precision"]: f"{r['times_as_fast']['median']:.1f}"
            for r in measured(folder / "text", "text")
            if r["pipeline"] == "toolkit" and r["model"] == "4l-312h" and r.get("engine") != "paddle"
        }
        for folder in (avx2, vnni)
    ]
    assert rows[4] == [each[which] for each in ratios for which in ("fp32", "int8")]
    step = json.loads((project_root / "docs/results/training-peers/epyc-vnni.json").read_text(encoding="utf-8"))
    for which in ("inference", "cached"):
        assert f"{step['batch 16']['ratio_to_peer'][which]:.2f}" in table
