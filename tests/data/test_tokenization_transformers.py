"""Tokenizer folders as transformers writes them: the same ids as the original's, or a refusal."""

import json
import pickle

import pytest
from tokenizers import AddedToken, Tokenizer

from paddle_ernie_tiny.data.tokenization import WordPieceTokenizer
from paddle_ernie_tiny.errors import InputError

from .test_tokenization import SPECIALS, VOCABULARY, write

TEXTS = ["Ab你好a?", "a№5 Ab😀", "é ÉA", "x\x00y\u200bz", "[MASK] [mask] [E1]a[/E1]", "a" * 101, "你E\u0301"]


def bert_json(folder, words=(), special=True, **options):
    """A tokenizer.json as transformers' fast BertTokenizer writes it, and what `tokenizers` makes of TEXTS."""
    from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers

    tokens = [*VOCABULARY, "é", "a№", "##№", "##5"]
    backend = Tokenizer(models.WordPiece({token: i for i, token in enumerate(tokens)}, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(**options)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.add_special_tokens([AddedToken(token, special=True) for token in SPECIALS])
    add = backend.add_special_tokens if special else backend.add_tokens
    add([AddedToken(word, special=special, normalized=not special) for word in words])
    folder.mkdir(exist_ok=True)
    backend.save(str(folder / "tokenizer.json"))
    return [backend.encode(text, add_special_tokens=False).ids for text in TEXTS]


class TestTransformersFolders:
    @pytest.mark.parametrize("lowercase", [True, False])
    @pytest.mark.parametrize("strip_accents", [None, True, False])
    @pytest.mark.parametrize("chinese", [True, False])
    def test_a_tokenizer_json_gives_the_original_s_ids(self, tmp_path, lowercase, strip_accents, chinese):
        options = {"lowercase": lowercase, "strip_accents": strip_accents, "handle_chinese_chars": chinese}
        expected = bert_json(tmp_path / "theirs", **options)
        tokenizer = WordPieceTokenizer.from_folder(tmp_path / "theirs")
        assert tokenizer.encode_plain(TEXTS) == expected
        tokenizer.save(tmp_path / "ours")
        again = WordPieceTokenizer.from_folder(tmp_path / "ours")
        assert again.encode_plain(TEXTS) == expected and again.fingerprint == tokenizer.fingerprint
        assert pickle.loads(pickle.dumps(again)).encode_plain(TEXTS) == expected
        plain = WordPieceTokenizer(tokenizer.tokens, lowercase)
        assert plain.fingerprint != tokenizer.fingerprint, "symbols are cut otherwise"

    def test_the_configuration_says_more_than_tokenizer_json(self, tmp_path):
        expected = bert_json(tmp_path / "cased", lowercase=False, strip_accents=False)
        bert_json(tmp_path / "folder")
        options = {"do_lower_case": False, "strip_accents": False, "tokenizer_class": "BertTokenizer"}
        write(tmp_path / "folder" / "tokenizer_config.json", json.dumps(options))
        assert WordPieceTokenizer.from_folder(tmp_path / "folder").encode_plain(TEXTS) == expected

    def test_further_special_tokens_are_never_cut(self, tmp_path):
        expected = bert_json(tmp_path / "theirs", words=["[E1]", "[/E1]"])
        tokenizer = WordPieceTokenizer.from_folder(tmp_path / "theirs")
        assert tokenizer.encode_plain(TEXTS) == expected
        assert tokenizer.tokens[-2:] == ["[E1]", "[/E1]"] == list(tokenizer.rules.special)
        tokenizer.save(tmp_path / "ours")
        assert WordPieceTokenizer.from_folder(tmp_path / "ours").encode_plain(TEXTS) == expected

    @pytest.mark.parametrize(
        "files",
        [
            {"tokenizer_config.json": {"additional_special_tokens": ["[E1]", {"content": "[/E1]"}]}},
            {"tokenizer_config.json": {"extra_special_tokens": {"open": "[E1]", "close": "[/E1]"}}},
            {
                "added_tokens.json": {"[/E1]": len(VOCABULARY) + 1, "[E1]": len(VOCABULARY)},
                "special_tokens_map.json": {"additional_special_tokens": ["[/E1]", "[E1]"]},
            },
            {
                "tokenizer_config.json": {
                    "added_tokens_decoder": {
                        str(len(VOCABULARY) + i): {"content": token, "special": True, "normalized": False}
                        for i, token in enumerate(["[E1]", "[/E1]"])
                    }
                }
            },
        ],
    )
    def test_where_further_special_tokens_are_named(self, tmp_path, files):
        write(tmp_path / "vocab.txt", "\n".join(VOCABULARY))
        for name, content in files.items():
            write(tmp_path / name, json.dumps(content))
        tokenizer = WordPieceTokenizer.from_folder(tmp_path)
        ids = [len(VOCABULARY), VOCABULARY.index("a"), len(VOCABULARY) + 1]
        assert tokenizer.encode_plain(["[E1]a[/E1]"]) == [ids] and tokenizer.vocab_size == len(VOCABULARY) + 2

    def test_a_special_token_that_the_vocabulary_has_keeps_its_id(self, tmp_path):
        write(tmp_path / "vocab.txt", "\n".join([*VOCABULARY, "[E1]"]))
        assert WordPieceTokenizer.from_folder(tmp_path).encode_plain(["[E1]"])[0] != [len(VOCABULARY)]
        write(tmp_path / "tokenizer_config.json", json.dumps({"additional_special_tokens": ["[E1]"]}))
        assert WordPieceTokenizer.from_folder(tmp_path).encode_plain(["[E1]"]) == [[len(VOCABULARY)]]

    @pytest.mark.parametrize(
        ("name", "content", "message"),
        [
            ("added_tokens.json", {"word": len(VOCABULARY)}, "'word' was added as a plain word"),
            ("added_tokens.json", {"[E1]": 99}, "'\\[E1\\]' was added as a plain word"),
            ("tokenizer_config.json", {"added_tokens_decoder": {"99": {"content": "[X]", "special": True}}}, "id 99"),
            ("tokenizer_config.json", {"added_tokens_decoder": [1]}, "the added tokens cannot be read"),
            ("tokenizer_config.json", [1], "not a JSON object"),
        ],
    )
    def test_added_tokens_whose_ids_would_differ_are_refused(self, tmp_path, name, content, message):
        write(tmp_path / "vocab.txt", "\n".join(VOCABULARY))
        write(tmp_path / name, json.dumps(content))
        with pytest.raises(InputError, match=message):
            WordPieceTokenizer.from_folder(tmp_path)

    WORDS = (
        AddedToken("Foo", normalized=True),
        AddedToken("AB", normalized=False),
        AddedToken("aq", single_word=True, normalized=True),
        AddedToken("[E1]", special=True, lstrip=True, rstrip=True),
        AddedToken("a№", normalized=False, single_word=True),  # which the vocabulary has
    )
    WORDY = [*TEXTS, "foo FOO xfoo", "AB ab xABx", "aq aqa xaq a", "a [E1] a", "a№ a№5"]

    def test_words_that_were_added_keep_their_ids(self, tmp_path):
        bert_json(tmp_path / "theirs")
        backend = Tokenizer.from_file(str(tmp_path / "theirs" / "tokenizer.json"))
        backend.add_tokens(list(self.WORDS))
        backend.save(str(tmp_path / "theirs" / "tokenizer.json"))
        expected = [backend.encode(text, add_special_tokens=False).ids for text in self.WORDY]
        tokenizer = WordPieceTokenizer.from_folder(tmp_path / "theirs")
        tokenizer.save(tmp_path / "ours")
        again = WordPieceTokenizer.from_folder(tmp_path / "ours")
        smaller = tokenizer.keep(range(tokenizer.vocab_size))
        for each in (tokenizer, again, smaller, pickle.loads(pickle.dumps(tokenizer))):
            assert each.encode_plain(self.WORDY) == expected
            assert each.fingerprint == tokenizer.fingerprint
        assert {"Foo", "AB", "aq", "[E1]", "a№"} <= tokenizer.never_cut

    def test_words_beside_a_vocabulary_of_transformers(self, tmp_path):
        """`added_tokens.json` holds plain words, which transformers looks for in the normalised text."""
        write(tmp_path / "vocab.txt", "\n".join(VOCABULARY))
        write(tmp_path / "added_tokens.json", json.dumps({"Zz": len(VOCABULARY)}))
        write(tmp_path / "tokenizer_config.json", json.dumps({"clean_up_tokenization_spaces": True}))
        tokenizer = WordPieceTokenizer.from_folder(tmp_path)
        new, a = len(VOCABULARY), VOCABULARY.index("a")
        assert tokenizer.encode_plain(["a ZZ zza"]) == [[a, new, new, a]]

    def test_a_word_in_a_tokenizer_json_of_ours_is_refused(self, tmp_path):
        WordPieceTokenizer(VOCABULARY).save(tmp_path)
        backend = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
        backend.add_tokens(["word"])
        backend.save(str(tmp_path / "tokenizer.json"))
        with pytest.raises(InputError, match="'word' was added as a plain word"):
            WordPieceTokenizer.from_folder(tmp_path)

    @pytest.mark.parametrize("name", ["special_tokens_map.json", "added_tokens.json"])
    def test_files_of_added_tokens_that_are_cut_off_are_refused(self, tmp_path, name):
        write(tmp_path / "vocab.txt", "\n".join(VOCABULARY))
        write(tmp_path / name, '{"a')
        with pytest.raises(InputError, match="the added tokens cannot be read"):
            WordPieceTokenizer.from_folder(tmp_path)

    @pytest.mark.parametrize("lowercase", [True, False])
    @pytest.mark.parametrize("strip_accents", [None, True, False])
    @pytest.mark.parametrize("chinese", [True, False])
    def test_a_vocabulary_with_the_options_of_transformers(self, tmp_path, lowercase, strip_accents, chinese):
        expected = bert_json(tmp_path, lowercase=lowercase, strip_accents=strip_accents, handle_chinese_chars=chinese)
        tokens = WordPieceTokenizer.from_folder(tmp_path).tokens
        (tmp_path / "tokenizer.json").unlink()
        write(tmp_path / "vocab.txt", "\n".join(tokens))
        options = {"do_lower_case": lowercase, "strip_accents": strip_accents, "tokenize_chinese_chars": chinese}
        options |= {"tokenizer_class": "BertTokenizer", "clean_up_tokenization_spaces": True}
        options |= {"cls_token": {"__type": "AddedToken", "content": "[CLS]", "lstrip": False}}
        write(tmp_path / "tokenizer_config.json", json.dumps(options))
        assert WordPieceTokenizer.from_folder(tmp_path).encode_plain(TEXTS) == expected

    def test_a_tokenizer_json_without_the_special_tokens_is_refused(self, tmp_path):
        bert_json(tmp_path)
        written = (tmp_path / "tokenizer.json").read_text(encoding="utf-8").replace("[MASK]", "<mask>")
        write(tmp_path / "tokenizer.json", written)
        with pytest.raises(InputError, match=r"a vocabulary needs .*\[MASK\]"):
            WordPieceTokenizer.from_folder(tmp_path)
