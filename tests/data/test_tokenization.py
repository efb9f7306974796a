"""The tokenizer on its own: vocabulary files, folders, truncation, padding, learning a vocabulary."""

import json
import pickle
import subprocess
import sys

import numpy as np
import pytest

from paddle_ernie_tiny.data.tokenization import WordPieceTokenizer, batches_by_length, pad_batch, train_vocabulary
from paddle_ernie_tiny.errors import InputError

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
PAD, UNK, CLS, SEP, MASK = range(5)
VOCABULARY = [*SPECIALS, "你", "好", "a", "##b", "ab", "!", "😀", "cafe", "A"]


@pytest.fixture
def tokenizer():
    return WordPieceTokenizer(VOCABULARY)


def write(path, text):
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def numbered(tokens):
    return "\n".join(f"{token}\t{index}" for index, token in enumerate(tokens))


class TestVocabularyFiles:
    def test_bert_shape_one_token_a_line(self, tmp_path):
        path = write(tmp_path / "vocab.txt", "\n".join(VOCABULARY) + "\n")
        tokenizer = WordPieceTokenizer.from_vocab_file(path)
        assert tokenizer.tokens == VOCABULARY
        assert tokenizer.vocab_size == 14
        ids = [tokenizer.pad_id, tokenizer.unk_id, tokenizer.cls_id, tokenizer.sep_id, tokenizer.mask_id]
        assert ids == [0, 1, 2, 3, 4]

    def test_ernie_shape_token_tab_id_without_a_last_newline(self, tmp_path):
        path = write(tmp_path / "vocab.txt", numbered(VOCABULARY))
        assert WordPieceTokenizer.from_vocab_file(path).tokens == VOCABULARY

    def test_ernie_shape_in_any_order(self, tmp_path):
        lines = reversed(numbered(VOCABULARY).split("\n"))
        path = write(tmp_path / "vocab.txt", "\n".join(lines))
        assert WordPieceTokenizer.from_vocab_file(path).tokens == VOCABULARY

    def test_both_shapes_give_the_same_fingerprint(self, tmp_path):
        bert = write(tmp_path / "bert.txt", "\n".join(VOCABULARY))
        ernie = write(tmp_path / "ernie.txt", numbered(VOCABULARY))
        prints = {WordPieceTokenizer.from_vocab_file(path).fingerprint for path in (bert, ernie)}
        assert len(prints) == 1
        assert WordPieceTokenizer.from_vocab_file(bert, lowercase=False).fingerprint not in prints

    def test_crlf_bom_and_trailing_blank_lines(self, tmp_path):
        path = write(tmp_path / "vocab.txt", "\ufeff" + "\r\n".join(VOCABULARY) + "\r\n\r\n")
        assert WordPieceTokenizer.from_vocab_file(path).tokens == VOCABULARY

    def test_a_line_separator_is_a_token_and_not_a_line_end(self, tmp_path):
        path = write(tmp_path / "vocab.txt", "\n".join([*SPECIALS, "\u2028", "x"]))
        assert WordPieceTokenizer.from_vocab_file(path).tokens[5:] == ["\u2028", "x"]

    def test_a_token_given_twice_keeps_its_last_id(self, tmp_path):
        path = write(tmp_path / "vocab.txt", numbered([*SPECIALS, "$", "x", "$"]))
        tokenizer = WordPieceTokenizer.from_vocab_file(path)
        assert tokenizer.tokens[5:] == ["[duplicate5]", "x", "$"]
        assert tokenizer.encode_plain(["$ [duplicate5]"])[0][0] == 7
        assert 5 not in tokenizer.encode_plain(["$ [duplicate5]"])[0]

    @pytest.mark.parametrize(
        ("content", "where", "what"),
        [
            ("[PAD]\n[UNK]\n[CLS]\n[SEP]\nx", "vocab.txt", "[MASK]"),
            (numbered(SPECIALS) + "\nx\t3\n", "vocab.txt:6", "id 3 of 'x' was given to '[SEP]' on line 4"),
            (numbered(SPECIALS) + "\nx\t6\n", "vocab.txt", "5 is missing"),
            (numbered(SPECIALS) + "\nx\n", "vocab.txt:6", "expected `token<TAB>id`, found 'x'"),
            ("\n".join(SPECIALS) + "\n\nx\n", "vocab.txt:6", "blank line"),
            ("\n".join(SPECIALS).encode() + b"\n\xff\n", "vocab.txt:6", "not UTF-8"),
            ("", "vocab.txt", "empty"),
        ],
    )
    def test_damage_is_named_with_its_line(self, tmp_path, content, where, what):
        path = write(tmp_path / "vocab.txt", content)
        with pytest.raises(InputError) as error:
            WordPieceTokenizer.from_vocab_file(path)
        assert f"{tmp_path}/{where}: " in str(error.value)
        assert what in str(error.value) and "remedy:" in str(error.value)


class TestFolders:
    def test_round_trip_is_exact(self, tmp_path, tokenizer):
        tokenizer.save(tmp_path / "bundle")
        assert sorted(path.name for path in (tmp_path / "bundle").iterdir()) == [
            "tokenizer.json",
            "vocab.txt",
        ]
        again = WordPieceTokenizer.from_folder(tmp_path / "bundle")
        assert again.tokens == VOCABULARY and again.lowercase and again.fingerprint == tokenizer.fingerprint
        assert (tmp_path / "bundle" / "vocab.txt").read_text() == "\n".join(VOCABULARY) + "\n"

    def test_case_survives_the_round_trip(self, tmp_path):
        WordPieceTokenizer(VOCABULARY, lowercase=False).save(tmp_path)
        assert WordPieceTokenizer.from_folder(tmp_path).lowercase is False
        assert WordPieceTokenizer.from_folder(tmp_path).encode_plain(["A a"]) == [[13, 7]]

    @pytest.mark.parametrize(("option", "ids"), [(True, [7]), (False, [13]), (None, [7])])
    def test_a_paddlenlp_folder_says_whether_to_lower_case(self, tmp_path, option, ids):
        write(tmp_path / "vocab.txt", "\n".join(VOCABULARY))
        if option is not None:
            options = {"do_lower_case": option, "tokenizer_class": "ErnieTokenizer"}
            write(tmp_path / "tokenizer_config.json", json.dumps(options))
        assert WordPieceTokenizer.from_folder(tmp_path).encode_plain(["A"]) == [ids]

    def test_a_tokenizer_json_of_another_tool_is_passed_over(self, tmp_path, tokenizer):
        from tokenizers import Tokenizer, models

        tokenizer.save(tmp_path)
        Tokenizer(models.WordPiece({"[UNK]": 0}, unk_token="[UNK]")).save(str(tmp_path / "tokenizer.json"))
        assert WordPieceTokenizer.from_folder(tmp_path).fingerprint == tokenizer.fingerprint
        (tmp_path / "vocab.txt").unlink()
        with pytest.raises(InputError, match="did not write"):
            WordPieceTokenizer.from_folder(tmp_path)

    def test_a_damaged_tokenizer_json(self, tmp_path):
        write(tmp_path / "tokenizer.json", "{")
        with pytest.raises(InputError, match="cannot be read"):
            WordPieceTokenizer.from_folder(tmp_path)

    @pytest.mark.parametrize(
        ("options", "what"),
        [
            ({"tokenizer_class": "GPTTokenizer"}, "tokenizer_class='GPTTokenizer'"),
            ({"init_class": "RobertaBPETokenizer"}, "RobertaBPETokenizer"),
            ({"do_basic_tokenize": False}, "do_basic_tokenize=False"),
            ({"strip_accents": False}, "strip_accents=False"),
        ],
    )
    def test_other_kinds_of_tokenizer_are_refused(self, tmp_path, options, what):
        write(tmp_path / "vocab.txt", "\n".join(VOCABULARY))
        write(tmp_path / "tokenizer_config.json", json.dumps(options))
        with pytest.raises(InputError) as error:
            WordPieceTokenizer.from_folder(tmp_path)
        assert what in str(error.value) and "remedy:" in str(error.value)

    def test_special_tokens_under_other_names_are_refused(self, tmp_path):
        write(tmp_path / "vocab.txt", "\n".join(VOCABULARY))
        write(tmp_path / "tokenizer_config.json", json.dumps({"cls_token": "<s>", "sep_token": {"content": "[SEP]"}}))
        with pytest.raises(InputError, match="not supported: cls_token='<s>'"):
            WordPieceTokenizer.from_folder(tmp_path)

    def test_an_empty_or_missing_folder(self, tmp_path):
        with pytest.raises(InputError, match="no vocab.txt here"):
            WordPieceTokenizer.from_folder(tmp_path)
        with pytest.raises(InputError, match="no such folder"):
            WordPieceTokenizer.from_folder(tmp_path / "nowhere")


class TestEncode:
    def test_single_texts(self, tokenizer):
        encoded = tokenizer.encode(["你好", "", "abb?"])
        assert encoded.input_ids == [[CLS, 5, 6, SEP], [CLS, SEP], [CLS, 9, 8, UNK, SEP]]
        assert encoded.token_type_ids == [[0] * 4, [0] * 2, [0] * 5]
        assert encoded.truncated == 0

    def test_pairs(self, tokenizer):
        encoded = tokenizer.encode(["你好"], ["a"])
        assert encoded.input_ids == [[CLS, 5, 6, SEP, 7, SEP]]
        assert encoded.token_type_ids == [[0, 0, 0, 0, 1, 1]]

    def test_single_texts_are_cut_at_the_end(self, tokenizer):
        encoded = tokenizer.encode(["你好你好", "你好"], max_length=4)
        assert encoded.input_ids == [[CLS, 5, 6, SEP]] * 2
        assert encoded.truncated == 1

    @pytest.mark.parametrize("room", range(1, 13))
    def test_pairs_are_cut_as_bert_does_one_token_at_a_time(self, tokenizer, room):
        for length_a in range(9):
            for length_b in range(9):
                a, b = [5] * length_a, [6] * length_b
                while len(a) + len(b) > room:
                    (a if len(a) > len(b) else b).pop()
                encoded = tokenizer.encode(["你" * length_a], ["好" * length_b], max_length=max(room + 3, 4))
                assert encoded.input_ids == [[CLS, *a, SEP, *b, SEP]]
                assert encoded.truncated == (length_a + length_b > room)

    def test_no_room_or_unequal_lists(self, tokenizer):
        with pytest.raises(InputError, match="leaves no room"):
            tokenizer.encode(["a"], ["b"], max_length=3)
        with pytest.raises(ValueError, match="1 first texts but 2"):
            tokenizer.encode(["a"], ["b", "c"])
        with pytest.raises(TypeError, match="got one string"):
            tokenizer.encode_plain("你好")

    def test_symbols_case_accents_and_controls(self, tokenizer):
        assert tokenizer.encode_plain(["AB😀ab!", "CAFÉ", "a\u200bb\x00", "a\u3000b"]) == [
            [9, 11, 9, 10],
            [12],
            [9],
            [7, UNK],
        ]

    def test_special_tokens_in_a_text_count_as_themselves(self, tokenizer):
        assert tokenizer.encode_plain(["你[MASK] 好[mask]"])[0][:3] == [5, MASK, 6]

    def test_half_a_surrogate_pair_is_dropped(self, tokenizer):
        assert tokenizer.encode_plain(["你\ud83d好"]) == [[5, 6]]

    def test_offsets_point_into_the_text_as_given(self, tokenizer):
        encoding = tokenizer.encode_with_offsets(["  Ab\u200bB你"])[0]
        assert encoding.ids == [9, 8, 5]
        assert encoding.offsets == [(2, 4), (5, 6), (6, 7)]

    def test_pickle(self, tokenizer):
        again = pickle.loads(pickle.dumps(tokenizer))
        assert again.fingerprint == tokenizer.fingerprint
        assert again.encode(["你好"]) == tokenizer.encode(["你好"])

    def test_a_vocabulary_must_be_whole(self):
        with pytest.raises(ValueError, match="every token once"):
            WordPieceTokenizer(["a"])
        with pytest.raises(ValueError, match="every token once"):
            WordPieceTokenizer([*SPECIALS, "a", "a"])


def test_the_longest_batch_comes_first():
    """Its buffers have room for those that follow; rows of one length keep their order."""
    rows = [[1] * length for length in (2, 5, 1, 5, 3)]
    assert [batch.tolist() for batch in batches_by_length(rows, 2)] == [[3], [4, 1], [2, 0]]
    assert batches_by_length([], 2) == []


def test_pad_batch():
    batch = pad_batch([[1, 2, 3], [4]], pad_id=9)
    assert batch.dtype == np.int64
    assert batch.tolist() == [[1, 2, 3], [4, 9, 9]]
    assert pad_batch([[1, 2, 3]], pad_id=0, multiple_of=8).shape == (1, 8)
    assert pad_batch([], pad_id=0).shape == (0, 0)


class TestLearning:
    LINES = ["我喜欢 hello world", "我不喜欢 hello there", "你好 hello"] * 3 + ["罕"]

    def test_special_tokens_first_characters_singly_and_words_merged(self):
        tokenizer = train_vocabulary(self.LINES, size=60)
        assert tokenizer.tokens[:5] == SPECIALS
        assert {"我", "喜", "欢", "hello", "##o"} <= set(tokenizer.tokens)
        assert "喜欢" not in tokenizer.tokens and tokenizer.vocab_size <= 60
        assert tokenizer.unk_id not in tokenizer.encode_plain(self.LINES)[0]

    def test_a_small_size_drops_the_rarest_characters(self):
        tokenizer = train_vocabulary(self.LINES, size=20)
        assert tokenizer.vocab_size == 20
        assert "罕" not in tokenizer.tokens and "l" in tokenizer.tokens

    def test_case(self):
        assert "A" not in train_vocabulary(["A b"] * 2, size=50).tokens
        assert "A" in train_vocabulary(["A b"] * 2, size=50, lowercase=False).tokens

    def test_nothing_to_learn_from(self):
        with pytest.raises(InputError, match="no text"):
            train_vocabulary(["", " \t"], size=100)
        with pytest.raises(InputError, match="no room"):
            train_vocabulary(["a"], size=5)

    def test_two_processes_learn_the_same(self):
        code = (
            "from paddle_ernie_tiny.data.tokenization import train_vocabulary as train;"
            "words = ['tion'.join([chr(97 + i % 26), chr(97 + i * i % 26)]) + 'ing' * (i % 3) "
            "for i in range(400)];"
            "print(train([' '.join(words)] * 3, size=300).fingerprint)"
        )
        run = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True) for _ in range(3)]
        assert run[0].stdout.strip() and len({result.stdout for result in run}) == 1, run[0].stderr


class TestWords:
    """Rows of words: every word has a first piece, and a place in one window."""

    TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "play", "##ing", "北", "京"]

    def test_pieces_and_places(self):
        tokenizer = WordPieceTokenizer(self.TOKENS)
        encoded, places = tokenizer.encode_words([["playing", "北", "\u200d", "京"], ["京"]], max_length=16)
        assert encoded.input_ids == [[2, 5, 6, 7, 1, 8, 3], [2, 8, 3]], "a word without pieces is [UNK]"
        assert [row.tolist() for row in places] == [[1, 3, 4, 5], [1]]
        assert encoded.truncated == 0

    def test_a_row_that_is_too_long_has_windows_of_whole_words(self):
        tokenizer = WordPieceTokenizer(self.TOKENS)
        encoded, places = tokenizer.encode_words([["京"], ["北", "playing", "京"]], max_length=4)
        assert encoded.input_ids == [[2, 8, 3], [2, 7, 3], [2, 5, 6, 3], [2, 8, 3]]
        assert encoded.rows.tolist() == [0, 1, 1, 1] and [of.tolist() for of in places] == [[1]] * 4
        assert encoded.truncated == 0

    def test_windows_overlap_by_a_quarter_and_each_word_belongs_to_one(self):
        """Room for eight tokens, so two overlap; the overlap is divided in the middle, and the last window is full."""
        tokenizer = WordPieceTokenizer([*self.TOKENS[:5], *"abcdefghijklmnopqrst"])
        encoded, places = tokenizer.encode_words([list("abcdefghijklmnop")], max_length=10)
        letters = ["".join(tokenizer.tokens[i] for i in ids[1:-1]) for ids in encoded.input_ids]
        assert letters == ["abcdefgh", "ghijklmn", "ijklmnop"]
        owned = [
            "".join(tokenizer.tokens[ids[place]] for place in of)
            for ids, of in zip(encoded.input_ids, places, strict=True)
        ]
        assert owned == ["abcdefg", "hijk", "lmnop"]
        assert encoded.rows.tolist() == [0, 0, 0] and encoded.cut == [False]

    def test_a_word_that_is_longer_than_a_window_is_cut_and_keeps_its_place(self):
        tokenizer = WordPieceTokenizer(self.TOKENS)
        encoded, places = tokenizer.encode_words([["京", "playinging", "北"]], max_length=4)
        assert encoded.input_ids == [[2, 8, 3], [2, 5, 6, 3], [2, 7, 3]]
        assert [of.tolist() for of in places] == [[1]] * 3 and encoded.cut == [True]

    def test_two_tokenizers_side_by_side_have_windows_over_the_same_words(self):
        """Each word takes the room of the longer of its two forms."""
        words = WordPieceTokenizer(self.TOKENS)
        special = ["[CLS]", "[SEP]", "[PAD]", "[UNK]", "[MASK]"]
        letters = WordPieceTokenizer([*special, "北", "京", "p", *(f"##{letter}" for letter in "laying")])
        row = [["北", "play", "京", "playing", "北"]]
        one, other = (a.encode_words(row, 8, b) for a, b in ((words, letters), (letters, words)))
        assert [[len(of) for of in side[1]] for side in (one, other)] == [[3, 1, 1]] * 2
        assert one[0].input_ids == [[2, 7, 5, 8, 3], [2, 5, 6, 3], [2, 7, 3]]
        assert (one[0].cut, other[0].cut) == ([False], [True]), "seven letters, room for six"


class TestLongTexts:
    """What becomes of a text that is longer than the room, which is eight tokens here."""

    TEXT = "abcdefghijklmnop"

    @pytest.mark.parametrize(
        ("long_text", "kept", "cut"),
        [
            ("truncate", ["abcdefgh"], True),
            ("head_tail", ["abklmnop"], True),  # a quarter, three quarters
            ("windows", ["abcdefgh", "ghijklmn", "ijklmnop"], False),
        ],
    )
    def test_single_texts(self, long_text, kept, cut):
        tokenizer = WordPieceTokenizer([*TestWords.TOKENS[:5], *self.TEXT])
        encoded = tokenizer.encode([" ".join(self.TEXT), "a b"], None, 10, long_text)
        found = ["".join(tokenizer.tokens[i] for i in ids[1:-1]) for ids in encoded.input_ids]
        assert found == [*kept, "ab"] and encoded.cut == [cut, False]
        assert (encoded.rows is None) == (len(kept) == 1)

    def test_of_a_pair_it_is_the_first_text(self):
        """The second is kept up to half of the room, in every window."""
        tokenizer = WordPieceTokenizer([*TestWords.TOKENS[:5], *self.TEXT])
        texts = [" ".join(self.TEXT[:10])] * 2, [" ".join("nop"), " ".join(self.TEXT)]
        encoded = tokenizer.encode(*texts, 11, "windows")
        rows = [" ".join(tokenizer.tokens[i].strip("[]") for i in ids) for ids in encoded.input_ids]
        assert rows == [
            *("CLS a b c d e SEP n o p SEP", "CLS e f g h i SEP n o p SEP", "CLS f g h i j SEP n o p SEP"),
            *("CLS a b c d SEP a b c d SEP", "CLS d e f g SEP a b c d SEP", "CLS g h i j SEP a b c d SEP"),
        ]
        assert encoded.rows.tolist() == [0, 0, 0, 1, 1, 1] and encoded.cut == [False, True]
        (both,) = tokenizer.encode(*([column[0]] for column in texts), 11, "head_tail").input_ids
        assert " ".join(tokenizer.tokens[i].strip("[]") for i in both) == "CLS a g h i j SEP n o p SEP"

    def test_the_tail_of_a_giant_text_is_its_own(self):
        tokenizer = WordPieceTokenizer(TestWords.TOKENS)
        encoded = tokenizer.encode(["北" * 10_000_000 + "京京京"], None, 6, "head_tail")
        assert encoded.input_ids == [[2, 7, 8, 8, 8, 3]] and encoded.cut == [True]
        windows = tokenizer.encode(["北" * 70_000], None, 512, "windows")
        assert windows.cut == [True], "65,536 characters are read"


class TestGiantTexts:
    """A text of any size costs the memory of its beginning, and has the same first tokens."""

    def test_of_rows_and_words(self):
        tokenizer = WordPieceTokenizer(TestWords.TOKENS)
        giant = " " * 100_000 + "北京" * 10_000_000
        assert tokenizer.encode([giant], [giant], max_length=8).input_ids == [[2, 7, 8, 7, 3, 7, 8, 3]]
        encoded, places = tokenizer.encode_words([["京", "x" * 20_000_000, giant, "北"]], max_length=8)
        assert encoded.input_ids == [[2, 8, 1, 3], [2, *[7, 8] * 3, 3], [2, 7, 3]]
        assert [of.tolist() for of in places] == [[1, 2], [1], [1]] and encoded.cut == [True]

    def test_a_corpus_keeps_every_token(self):
        assert len(WordPieceTokenizer(TestWords.TOKENS).encode_plain(["北" * 100_000])[0]) == 100_000
