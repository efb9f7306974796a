"""The fault harness, a few attacks of each part, and what it makes of them. The whole form is `make faults`."""

import json
from dataclasses import asdict

import pytest

from .commands import judge_failure
from .configurations import nonsense
from .data_files import nonsense as nonsense_of_rows
from .generated import draw, edited
from .harness import Outcome, Part, run_part
from .memory import growth
from .miniature import begun
from .parts import PARTS
from .results import write_results
from .sandbox import Sandbox

# Attacks of each part in the short form. Memory needs minutes: its growth is measured in the whole form alone.
SHORT = {"config": 150, "data": 150, "bundle": 30, "http": 240, "kill": 3, "signals": 2, "damage": 3, "disk": 1}


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """One reference run, and one set of bundles, for all parts."""
    return tmp_path_factory.mktemp("faults")


@pytest.mark.parametrize("name", SHORT)
@pytest.mark.e2e
def test_nothing_is_lost_trusted_or_hung(name, work, tmp_path):
    said = []
    summary = run_part(PARTS[name](1, work, None), SHORT[name], tmp_path, workers=2, say=said.append)
    assert summary.faults == [], "\n".join(said)
    assert summary.attacks >= SHORT[name]


def test_every_part_is_in_the_short_form_or_measures_for_minutes():
    assert set(PARTS) - set(SHORT) == {"memory"}


class Counted(Part):
    """A part whose cases are right but for one."""

    name, unit, whole, bar = "counted", "numbers", 4, "none"
    attacked: list[int] = []

    def cases(self, count):
        return [{"number": number} for number in range(count)]

    def attack(self, case):
        self.attacked.append(case["number"])
        if case["number"] == 3:
            raise ValueError("three")
        return Outcome("right" if case["number"] != 2 else "silent", "two", keep={"input": b"2"})


class TestTheHarness:
    def test_an_outcome_that_is_not_good_is_a_fault_and_its_input_is_kept(self, tmp_path):
        summary = run_part(Counted(1, tmp_path), 4, tmp_path, 2, say=lambda text: None)
        assert summary.verdicts == {"right": 2, "silent": 1, "harness": 1}
        assert [fault["detail"] for fault in summary.faults] == ["two", "ValueError: three"]
        assert (tmp_path / "failing" / "counted-2-input").read_bytes() == b"2"
        assert json.loads((tmp_path / "counted.json").read_text(encoding="utf-8"))["attacks"] == 4

    def test_a_second_call_carries_out_what_the_first_did_not(self, tmp_path):
        run_part(Counted(1, tmp_path), 4, tmp_path, 1, say=lambda text: None)
        journal = tmp_path / "counted.jsonl"
        lines = journal.read_text(encoding="utf-8").splitlines()
        journal.write_text("\n".join(lines[:3]) + "\n", encoding="utf-8")
        Counted.attacked.clear()
        summary = run_part(Counted(1, tmp_path), 4, tmp_path, 1, say=lambda text: None)
        assert Counted.attacked == [2, 3] and summary.attacks == 4

    def test_another_seed_begins_again(self, tmp_path):
        run_part(Counted(1, tmp_path), 2, tmp_path, 1, say=lambda text: None)
        Counted.attacked.clear()
        run_part(Counted(2, tmp_path), 2, tmp_path, 1, say=lambda text: None)
        assert Counted.attacked == [0, 1]

    def test_the_page_of_results_has_figures_faults_and_the_command(self, tmp_path):
        summary = run_part(Counted(7, tmp_path), 4, tmp_path, 1, say=lambda text: None)
        text = json.dumps(asdict(summary) | {"part": "kill"})
        (tmp_path / "kill.json").write_text(text, encoding="utf-8")
        write_results(tmp_path / "results", tmp_path, ["kill", "--seed", "7"])
        page = (tmp_path / "results" / "README.md").read_text(encoding="utf-8")
        assert "| kill | 4 numbers | harness 1, right 2, silent 1 | 2 |" in page and "- kill: silent: `two`" in page
        assert "`python -m tests.faults kill --seed 7`" in page
        result = json.loads((tmp_path / "results" / "result.json").read_text(encoding="utf-8"))
        assert result["parts"]["kill"]["seed"] == 7 and result["machine"]["cpu"]

    @pytest.mark.parametrize("name", PARTS)
    def test_the_seed_decides_the_cases(self, name, tmp_path):
        one, same, other = (PARTS[name](seed, tmp_path).cases(40) for seed in (1, 1, 2))
        assert one == same
        assert name == "memory" or one != other

    def test_generated_values_are_those_of_their_label(self):
        first = draw(edited(b"some bytes"), 20, "a")
        assert first == draw(edited(b"some bytes"), 20, "a") != draw(edited(b"some bytes"), 20, "b")


def test_the_steps_that_a_run_has_begun_are_read_from_what_it_prints():
    printed = "[1/9] pretrain\n[1/9] pretrain: done in 0 s\n[2/9] finetune: resuming\n[2/9] finetune: score 0.5 (x)\n"
    printed += "[3/9] general of one, two\n[4/9] export of one: re-running: a: 1 -> 2\n[5/9] export: already done\n"
    assert begun(printed) == ["pretrain", "finetune", "general of one, two", "export of one"]


class TestVerdicts:
    GOOD = "error: runs/x/done.json: cut off\n  remedy: remove it"

    @pytest.mark.parametrize(
        ("code", "text", "verdict"),
        [
            (2, GOOD, "refused"),
            (1, GOOD, "unclear"),
            (2, "error: cut off\n  remedy: remove it", "unclear"),
            (2, "error: runs/x/done.json: cut off", "unclear"),
            (1, "error: KeyError: 'x'\n  remedy: set ERNIE_TINY_DEBUG=1 for the traceback", "bare"),
            (1, "Traceback (most recent call last):\n  ...", "bare"),
            (139, "", "crash"),
            (None, "", "hang"),
        ],
    )
    def test_a_command_that_failed(self, code, text, verdict):
        assert judge_failure(code, text).verdict == verdict

    def test_values_of_a_configuration(self):
        assert nonsense({"a": [{"seed": 1, "weight": 0.5, "name": "x"}]}) == ""
        assert nonsense({"a": [{"rate": float("inf")}]}) == "a.0.rate: inf"
        assert nonsense({"rows": 1e26}) == "rows: 1e+26"
        assert nonsense({"warmup_ratio": 1.5}) == "warmup_ratio: 1.5 is no share"
        assert nonsense({"labels": ["a", "a"]}) and nonsense({"labels": ["", "a"]}) and nonsense({"name": "a\0"})
        assert nonsense({"shape": {"hidden_size": 7, "num_attention_heads": 2}})

    def test_rows_of_a_file(self):
        assert nonsense_of_rows("tsv", b"text\tlabel\na\tx\n", [("a", None)]) == ""
        assert nonsense_of_rows("tsv", b"a\tx\nb\tx\nc\tx\n", [("a", None)]) == "1 rows from 3 lines"
        assert nonsense_of_rows("corpus", b"a\0", ["a\0"]) == "a text with '\\x00'"
        assert nonsense_of_rows("conll", b"a O\rb O\r", [("a O\rb",)]).startswith("a word with a line end")

    def test_memory_that_grows(self):
        assert growth([50, *[100] * 99]) == 0
        assert growth([100] * 50 + [110] * 50) == pytest.approx(0.1)


@pytest.mark.slow
class TestTheSandbox:
    def test_an_attempt_that_dies_hangs_or_eats_memory_is_told_apart(self):
        sandbox = Sandbox(__name__)
        try:
            verdicts = [sandbox.attempt(what).verdict for what in ("fine", "die", "memory", "bare", "refused", "fine")]
        finally:
            sandbox.close()
        assert verdicts == ["accepted", "crash", "memory", "bare", "refused", "accepted"]


def prepare(setup):
    """What the sandbox of the test above attempts."""
    import os

    from paddle_ernie_tiny.errors import InputError

    def attempt(what):
        if what == "die":
            os._exit(3)
        if what == "memory":
            bytearray(2 << 30)
        if what == "bare":
            raise KeyError("x")
        if what == "refused":
            raise InputError("wrong", "a.yaml:1", "correct it")
        return Outcome("accepted")

    return attempt
