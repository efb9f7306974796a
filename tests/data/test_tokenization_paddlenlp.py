"""The ids are PaddleNLP's: on every character, on hand-made nasty texts, and on real Chinese corpora.

What remains different, and why:
- Characters newer than the running Python's Unicode tables. PaddleNLP drops them as "unassigned" (Python
  3.11: Unicode 14); here they count as what they are in Unicode 16, under every Python.
- When lower-casing, U+1734, U+1171E and U+11938 (Hanunoo, Ahom, Dives Akuru): Unicode changed their class
  or decomposition after the version that Python 3.10 (U+1734) or 3.12 (the others) has.
- A token that stands twice in a vocabulary file gives the same id in both, but PaddleNLP's `vocab_size`
  counts it once (ERNIE 3.0: `$`).
"""

import json
import sys
import unicodedata

import pytest

from paddle_ernie_tiny.data.tokenization import WordPieceTokenizer

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LETTERS = [chr(code) for code in range(97, 123)] + list("0123456789")
VOCABULARY = [
    *SPECIALS,
    *LETTERS,
    *(f"##{letter}" for letter in LETTERS),
    *"ABCDE!?.,😀№™€〇²ºµ中国你好，。（）“”…—＋￥～《》",
    "apple",
    "un",
    "##able",
    "cafe",
    "##漢",
    "が",
    "か",
    "σ",
    "##σ",
    "ø",
    "2026",
    "##26",
    "[unused1]",
]
NASTY = [
    "",
    " ",
    "\t\r\n",
    "你好，中国！",
    "Apple😀 2026№ iPhone™15",
    "价格€100￥200＋5～6",
    "unable UNABLE Un-able",
    "café CAFÉ cafe\u0301 ÅÉÎ",
    "İstanbul ΣΑΣ ß ŒÆ ø Ø",
    "a\u00adb zero\u200bwidth \ufeffbom a\u200db",
    "x\x00y\x07z\ufffd",
    "non\u00a0breaking\u3000wide\u2003em\u2028line\u2029para\x85next\x1cfile\x0bvt\x0cff",
    "〇一²º µm Øre ŋ Ʊ",
    "㈱①②Ⅳ㎡℃",
    "ｆｕｌｌ　ｗｉｄｔｈ！？",
    "がぎぐ が カタカナ 한국어",
    "漢字\uf900\ufa0e\U0002f800𠮷𪚥",
    "don't e-mail a_b c/d $100 50% C++ #tag @you ^_^ `x` ~ | = <b>",
    "……——“引号”《书名》",
    "1,234.56 3.14e-10 ½ ¼",
    "👨‍👩‍👧‍👦 👍🏽 🇨🇳 ❤️ ☺ ✈",
    "مرحبا שלום हिन्दी ไทย",
    "a" * 100,
    "a" * 101,
    "é" * 60,
    "[CLS] 你[SEP]好 [MASK][PAD][UNK]",
    "[sep] [Mask] [unused1] [ SEP ]",
    "你[SEP",
    "A[SEP]B",
    "\U000e0001tag \ue000private",
    "≠ ≮ ¬ ± × ÷",
    "ﬁ ﬂ ǅ ĳ",
    "12月25日19：30——20：00",
    "https://example.com/a?b=c&d=e",
    "喜欢\\n换行",
    "\"'‘’",
    "ａ１ｂ２",
    "e\u0301\u0302\u0303x",
]


@pytest.fixture(scope="module")
def paddlenlp():
    return pytest.importorskip("paddlenlp.transformers", reason="needs PaddleNLP")


def theirs(paddlenlp, kind, tokens, folder, lowercase):
    """PaddleNLP's tokenizer from a folder. (Called by its constructor, it splits `[SEP]` in a text.)"""
    (folder / "vocab.txt").write_text("\n".join(tokens) + "\n", encoding="utf-8", newline="\n")
    options = {"do_lower_case": lowercase, "tokenizer_class": kind}
    (folder / "tokenizer_config.json").write_text(json.dumps(options))
    return getattr(paddlenlp, kind).from_pretrained(str(folder))


def their_ids(tokenizer, text):
    return tokenizer.convert_tokens_to_ids(tokenizer.tokenize(text))


@pytest.mark.parametrize("lowercase", [True, False])
@pytest.mark.parametrize("kind", ["BertTokenizer", "ErnieTokenizer", "RobertaChineseTokenizer"])
def test_nasty_texts(paddlenlp, tmp_path, kind, lowercase):
    if not hasattr(paddlenlp, kind):
        pytest.skip(f"this PaddleNLP has no {kind}")
    reference = theirs(paddlenlp, kind, VOCABULARY, tmp_path, lowercase)
    ours = WordPieceTokenizer(VOCABULARY, lowercase).encode_plain(NASTY)
    differing = [text for text, ids in zip(NASTY, ours, strict=True) if ids != their_ids(reference, text)]
    assert differing == []


@pytest.mark.parametrize("lowercase", [True, False])
def test_every_character_between_letters(paddlenlp, lowercase):
    basic = paddlenlp.bert.tokenizer.BasicTokenizer(do_lower_case=lowercase)
    ours = WordPieceTokenizer(SPECIALS, lowercase)
    differing = []
    for code in range(sys.maxunicode + 1):
        # Of the 150,000 ideographs and Hangul syllables, which are handled by range, every 50th will do.
        block = unicodedata.category(chr(code))
        if block in ("Cn", "Cs", "Co") or (block == "Lo" and code > 0x3400 and code % 50):
            continue
        text = f"ab{chr(code)}cd"
        lowered = "".join(character.lower() for character in text) if lowercase else text
        if basic.tokenize(lowered) != ours.split_words(text):
            differing.append(hex(code))
    changed = {"0x1734", "0x1171e", "0x11938"} if lowercase else set()  # see the top
    assert set(differing) <= changed


def spread_lines(path, count):
    """`count` lines spread evenly over a file."""
    lines = path.read_text(encoding="utf-8").split("\n")
    return lines[:: max(1, len(lines) // count)][:count]


VOCABULARIES = [
    ("bert_chinese_21128", "BertTokenizer"),
    ("ernie1_17964", "ErnieTokenizer"),
    ("ernie3_39979", "ErnieTokenizer"),
]


@pytest.mark.parametrize(("name", "kind"), VOCABULARIES)
def test_real_corpora(paddlenlp, tmp_path, name, kind, real_data):
    folder = real_data / "data"
    ours = WordPieceTokenizer.from_vocab_file(folder / "vocab" / name / "vocab.txt")
    reference = theirs(paddlenlp, kind, ours.tokens, tmp_path, True)
    corpus = folder / "general_corpus_zh"
    texts = spread_lines(corpus / "part-00.txt", 1500) + spread_lines(corpus / "part-03.txt", 500)
    texts += [line.partition("\t")[2] for line in spread_lines(folder / "chnsenticorp" / "train.tsv", 1200)]
    texts += NASTY
    ids = ours.encode_plain(texts)
    differing = [text for text, row in zip(texts, ids, strict=True) if row != their_ids(reference, text)]
    assert len(texts) > 3000 and differing == []


@pytest.mark.parametrize("max_length", [16, 25])
def test_real_pairs_with_truncation(paddlenlp, tmp_path, max_length, real_data):
    folder = real_data / "data"
    rows = [line.split("\t") for line in spread_lines(folder / "lcqmc" / "dev.txt", 400) if line]
    ours = WordPieceTokenizer.from_vocab_file(folder / "vocab" / "bert_chinese_21128" / "vocab.txt")
    reference = theirs(paddlenlp, "BertTokenizer", ours.tokens, tmp_path, True)
    encoded = ours.encode([row[0] for row in rows], [row[1] for row in rows], max_length=max_length)
    assert 0 < encoded.truncated < len(rows)
    for index, (first, second, _) in enumerate(rows):
        expected = reference(first, second, max_length=max_length, truncation=True)
        assert encoded.input_ids[index] == expected["input_ids"], (first, second)
        assert encoded.token_type_ids[index] == expected["token_type_ids"]
