"""The demo's data: reproducible, clean splits, balanced, and holding what it promises."""

import sys
from collections import Counter
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
sys.path.insert(0, str(EXAMPLES))

import demo_data  # noqa: E402
from demo_lexicon import BAD_VERDICTS, DOMAINS, GOOD_VERDICTS  # noqa: E402

COMMITTED = EXAMPLES / "data" / "demo"
SPLITS = ("train", "dev", "test")


def read_split(name: str) -> list[tuple[str, str]]:
    header, *rows = (COMMITTED / f"{name}.tsv").read_text(encoding="utf-8").splitlines()
    assert header == "text\tlabel"
    return [tuple(row.split("\t")) for row in rows]


def general_lines() -> list[str]:
    files = sorted((COMMITTED / "general").glob("*.txt"))
    return [line for file in files for line in file.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def made():
    return demo_data.build()


def test_regenerating_gives_the_committed_files_byte_for_byte(made, tmp_path):
    demo_data.write(tmp_path, made)
    names = sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*.*"))
    assert names == sorted(p.relative_to(COMMITTED) for p in COMMITTED.rglob("*.*"))
    for name in names:
        assert (tmp_path / name).read_bytes() == (COMMITTED / name).read_bytes(), name


def test_no_text_stands_in_two_places():
    texts = {name: [demo_data.essence(text) for text, _ in read_split(name)] for name in SPLITS}
    texts["general"] = [demo_data.essence(line) for line in general_lines()]
    for name in SPLITS:
        assert len(set(texts[name])) == len(texts[name]), f"{name} repeats a text"
        for other in texts:
            if other != name:
                assert not set(texts[name]) & set(texts[other]), f"{name} and {other} share a text"


@pytest.mark.parametrize("name", SPLITS)
def test_classes_are_balanced_and_texts_are_short(name):
    rows = read_split(name)
    assert len(rows) == demo_data.SPLIT_SIZES[name]
    assert Counter(label for _, label in rows) == dict.fromkeys(demo_data.LABELS, len(rows) // 2)
    assert sum(len(text) for text, _ in rows) / len(rows) <= 22
    assert max(len(text) for text, _ in rows) <= demo_data.MAX_CHARACTERS


@pytest.mark.parametrize("name", SPLITS)
def test_every_phenomenon_is_present_with_both_labels(made, name):
    found = Counter((s.phenomenon, s.positive) for s in made[name])
    for phenomenon, share in demo_data.TASK_MIX:
        for positive in (True, False):
            assert found[phenomenon, positive] >= 0.25 * share * len(made[name]), (phenomenon, positive)


@pytest.mark.parametrize("name", (*SPLITS, "general"))
@pytest.mark.parametrize("marker", "不 没有 并不 不是不 虽然 但是 不过 非常 有点 稍微 一点也不 不得不说".split())
def test_every_marker_is_used(made, name, marker):
    assert any(marker in sentence.text for sentence in made[name])


def test_an_opinion_word_has_one_polarity_everywhere():
    aspects = [aspect for domain in DOMAINS.values() for aspect in domain.aspects]
    good = {word for aspect in aspects for word in aspect.positive}
    bad = {word for aspect in aspects for word in aspect.negative}
    assert not good & bad
    assert min(len(good), len(bad)) >= 100


def test_train_uses_only_seen_words_and_test_and_corpus_use_all():
    unseen = set(demo_data.opinion_words()) - demo_data.seen_words()
    # 好用 inside 不好用 is the same word; a word inside a longer seen one would be another
    train = "\n".join(text for text, _ in read_split("train"))
    for word in unseen:
        assert word not in train, word
    for texts in ([text for text, _ in read_split("test")], general_lines()):
        joined = "\n".join(texts)
        missing = [word for word in demo_data.opinion_words() if word not in joined]
        assert len(missing) <= 0.02 * len(demo_data.opinion_words()), missing


def test_verdicts_stand_in_the_general_corpus_only():
    for name in SPLITS:
        for text, _ in read_split(name):
            assert not any(verdict in text for verdict in GOOD_VERDICTS + BAD_VERDICTS), text
    assert any(GOOD_VERDICTS[0] in line for line in general_lines())


def test_the_general_corpus_is_small_enough_for_a_repository():
    assert 20_000 <= len(general_lines()) <= 40_000
    assert sum(file.stat().st_size for file in (COMMITTED / "general").glob("*.txt")) <= 2_500_000
