"""The file of a search, and bounds as they are written on the command line."""

import pytest

from paddle_ernie_tiny.budget_search.search_settings import as_overrides, load_search
from paddle_ernie_tiny.errors import InputError, InputErrors

pytestmark = pytest.mark.unit


@pytest.fixture
def written(tmp_path):
    """Writes a search's file with these lines, and gives its path; its base is an empty run beside it."""
    (tmp_path / "base.yaml").write_text("seed: 1\n", encoding="utf-8")

    def write(text: str):
        file = tmp_path / "search.yaml"
        file.write_text(f"output_dir: runs/search\nbase: base.yaml\n{text}", encoding="utf-8")
        return file

    return write


def test_bounds_become_overrides():
    given = ["latency_ms<=5", "texts_per_second>=500, files_mb=20"]
    assert as_overrides(given) == ["budget.latency_ms=5", "budget.texts_per_second=500", "budget.files_mb=20"]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("latency_ms>=5", "bounded from the other side"),
        ("texts_per_second<=5", "bounded from the other side"),
        ("latency<=5", "not a bound"),
        ("latency_ms", "not a bound"),
        ("", "not a bound"),
        ("latency_ms<=five", "not a bound"),
    ],
)
def test_a_wrong_bound_is_refused(text, what):
    with pytest.raises(InputError, match=what):
        as_overrides([text])


def test_a_file_with_defaults(written):
    settings, base = load_search(written("budget: {latency_ms: 5}\n"), ["halving.finalists=2"])
    assert base == {"seed": 1}
    assert settings.budget.bounds == {"latency_ms": 5.0}
    assert settings.at.batch == 1 and settings.at.length == "data" and settings.at.engine == "auto"
    assert 0 in settings.space.num_hidden_layers and settings.halving.finalists == 2


def test_every_mistake_is_said_at_once(written):
    file = written("budget: {latency: 5}\nat: {length: 513}\nspace: {hidden_size: []}\n")
    with pytest.raises(InputErrors) as raised:
        load_search(file)
    text = str(raised.value)
    assert "budget.latency: unknown key" in text and "keys here: latency_ms" in text
    assert "at.length" in text and "513" in text
    assert "space.hidden_size" in text


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "no bound is given"),
        ("budget: {latency_ms: 5}\nspace: {hidden_size: [64, 64]}\n", "64 is given twice"),
        ("budget: {latency_ms: 0}\n", "budget.latency_ms"),
        ("budget: {latency_ms: 5}\nhalving: {keep: 1.0}\n", "halving.keep"),
    ],
)
def test_what_makes_no_search(written, text, what):
    with pytest.raises(InputErrors, match=what):
        load_search(written(text))
