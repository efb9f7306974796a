"""Which words are replaced, and which pieces belong to them."""

import pytest

from paddle_ernie_tiny.augmentation.candidates import analyse, script_of
from paddle_ernie_tiny.data.tokenization import WordPieceTokenizer

TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"酒店很好，。1天", "ip", "##ad", "good", "film", "##s", "12"]
TOKENIZER = WordPieceTokenizer(TOKENS)


def words(text, language):
    [analysed] = analyse([text], TOKENIZER, language)
    return [
        (text[w.start : w.start + len(w.text)], w.script, [TOKENS[i] for i in w.ids[w.first : w.last]])
        for w in analysed.words
    ]


@pytest.mark.parametrize(
    ("word", "script"),
    [("酒店", "chinese"), ("iPad", "letters"), ("café", "letters"), ("2024", "number"), ("，", None), ("～", None)]
    + [("T恤", None), ("don't", None), ("[UNK]", None), ("4k", None), ("", None)],
)
def test_the_script_of_a_word(word, script):
    assert script_of(word) == script


def test_chinese_words_are_jiebas_and_punctuation_is_none():
    assert words("酒店很好，iPad 12。", "zh") == [
        ("酒店", "chinese", ["酒", "店"]),
        ("很", "chinese", ["很"]),
        ("好", "chinese", ["好"]),
        ("iPad", "letters", ["ip", "##ad"]),
        ("12", "number", ["12"]),
    ]


def test_english_words_stand_between_spaces_and_those_of_several_pieces_are_not_predicted():
    assert words('a "Good" films, don\'t', "en") == [
        ("a", "letters", ["[UNK]"]),
        ("Good", "letters", ["good"]),
        ("films", "letters", []),
    ]


def test_words_whose_pieces_do_not_end_with_them_are_not_predicted():
    """The tokenizer keeps `ipadé` together, jieba does not."""
    assert [pieces for _, _, pieces in words("ipadé", "zh")] == [[], []]


def test_words_of_many_pieces_are_not_predicted():
    assert words("ip" + "ad" * 8, "zh") == [("ip" + "ad" * 8, "letters", [])]


def test_everything_between_replaced_words_stays():
    [text] = analyse(["酒店 很好，\t iPad！"], TOKENIZER, "zh")
    assert text.with_words({}) == text.text
    assert text.with_words({text.words[3]: "电脑", text.words[0]: "房间"}) == "房间 很好，\t 电脑！"


def test_no_texts():
    assert analyse([], TOKENIZER, "zh") == analyse([], TOKENIZER, "en") == []
