"""What a masked language model would put in a word's place."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..data.tokenization import WordPieceTokenizer, pad_batch
from ..data.words import word_counts
from .units import Text, Word, kind_of

# With [CLS] and [SEP]; of longer texts, what stands around the word. The time of a forward on a CPU goes with it.
_CONTEXT_TOKENS = 64
# Masked words of one forward stand this far apart: about one token in ten is masked then, and BERT was trained
# with one in seven. None would be one word a forward, as in TinyBERT, at several times the cost.
_TOKENS_BETWEEN = 8
_BEAM = 64
_PLACES = ("chinese", "letters", "##letters", "number", "##number")


class Predictor:
    """Replacements of words, by the masked LM `model` (whose `eval()` mode it sets).

    All pieces of a word are masked at once, and with it further words of the text, `tokens_between` tokens
    apart (None: a word at a time). Of the `candidates` most probable tokens of each place, those that
    go on to a word of the same kind are combined, the best sums of log-probabilities first: Chinese words are
    of Chinese characters and in jieba's dictionary, others begin with a whole piece and go on with `##` ones.
    Special tokens, punctuation and the word itself are never among them.
    """

    def __init__(
        self,
        model,
        tokenizer: WordPieceTokenizer,
        candidates: int,
        rows_per_batch: int,
        tokens_between: int | None = _TOKENS_BETWEEN,
    ):
        model.eval()
        self.tokens_between = tokens_between
        self.model, self.tokenizer = model, tokenizer
        self.candidates, self.rows_per_batch = candidates, rows_per_batch
        self.context = min(_CONTEXT_TOKENS, model.config.max_position_embeddings)
        self.tokens, self.counts = tokenizer.tokens, word_counts()
        self.allowed = self._allowed()

    def _allowed(self):
        """[kinds of places, vocab]: 0 where a token may stand, minus infinity elsewhere."""
        import paddle

        kinds = {name: index for index, name in enumerate(_PLACES)}
        table = np.full((len(_PLACES), self.model.config.vocab_size), -np.inf, dtype=np.float32)
        for index, token in enumerate(self.tokens):
            head = "##" if token.startswith("##") else ""
            kind = kind_of(token.removeprefix("##"))
            if f"{head}{kind}" in kinds and (kind != "chinese" or len(token) == 1):
                table[kinds[f"{head}{kind}"], index] = 0
        return paddle.to_tensor(table)

    def __call__(
        self, wanted: Sequence[tuple[Text, Word]], progress: Callable[[int], None] | None = None
    ) -> list[list[str]]:
        """The replacements of each (text, word), in order, the most probable first; at most `candidates` of each.

        Runs `rows_per_batch` masked texts of similar length at a time; `progress` gets the number of words of each.
        """
        groups = self.groups(wanted)
        variants = [self.masked(wanted[group[0]][0], [wanted[i][1] for i in group]) for group in groups]
        order = sorted(range(len(groups)), key=lambda g: len(variants[g][0]))
        result: list[list[str]] = [[] for _ in wanted]
        for start in range(0, len(order), self.rows_per_batch):
            picked = order[start : start + self.rows_per_batch]
            members = [i for g in picked for i in groups[g]]
            places = self._forward([variants[g] for g in picked], [[wanted[i][1] for i in groups[g]] for g in picked])
            for i in members:
                text, word = wanted[i]
                count = word.last - word.first
                result[i] = self.words(text.text[word.start : word.end], word.kind, places[:count])
                places = places[count:]
            if progress:
                progress(len(members))
        return result

    def groups(self, wanted: Sequence[tuple[Text, Word]]) -> list[list[int]]:
        """Which of the wanted words are masked together: of one text, far enough apart, within one context."""
        if self.tokens_between is None:
            return [[i] for i in range(len(wanted))]
        by_text: dict[int, list[int]] = {}
        for i, (text, _) in enumerate(wanted):
            by_text.setdefault(id(text), []).append(i)
        room, found = self.context - 2, []
        for members in by_text.values():
            open_groups: list[list[int]] = []
            for i in sorted(members, key=lambda i: wanted[i][1].first):
                text, word = wanted[i]
                for group in open_groups:
                    first, last = wanted[group[0]][1].first, wanted[group[-1]][1].last
                    # a part of a long text leaves as much room around its ends as between its words
                    fits = len(text.ids) <= room or word.last - first <= room - 2 * self.tokens_between
                    if fits and word.first - last >= self.tokens_between:
                        group.append(i)
                        break
                else:
                    open_groups.append([i])
            found += open_groups
        return found

    def masked(self, text: Text, words: Sequence[Word]) -> tuple[list[int], list[int]]:
        """Token ids of the text, or of what fits around the words, with these masked; and their first places."""
        room, first, last = self.context - 2, words[0].first, words[-1].last
        low = max(0, min(first - (room - (last - first)) // 2, len(text.ids) - room))
        ids = [self.tokenizer.cls_id, *text.ids[low : low + room], self.tokenizer.sep_id]
        places = [1 + word.first - low for word in words]
        for place, word in zip(places, words, strict=True):
            count = word.last - word.first
            ids[place : place + count] = [self.tokenizer.mask_id] * count
        return ids, places

    def _forward(
        self, variants: list[tuple[list[int], list[int]]], words: list[list[Word]]
    ) -> list[list[tuple[str, float]]]:
        """For each masked place of the batch, in order: the allowed tokens with the highest logits."""
        import paddle

        from ..models.capture import masked_token_logits

        input_ids = pad_batch([ids for ids, _ in variants], self.tokenizer.pad_id)
        lengths = np.array([len(ids) for ids, _ in variants])
        mask = (np.arange(input_ids.shape[1]) < lengths[:, None]).astype(np.float32)
        positions, kinds = [], []
        for row, ((_, firsts), group) in enumerate(zip(variants, words, strict=True)):
            for first, word in zip(firsts, group, strict=True):
                count = word.last - word.first
                positions += [row * input_ids.shape[1] + first + i for i in range(count)]
                kinds += [place_kind(word.kind, i) for i in range(count)]
        inputs = {
            "input_ids": paddle.to_tensor(input_ids),
            "token_type_ids": paddle.zeros(input_ids.shape, dtype="int64"),
            "attention_mask": paddle.to_tensor(mask),
        }
        with paddle.no_grad():
            logits = masked_token_logits(self.model, inputs, paddle.to_tensor(np.array(positions))).astype("float32")
            logits = logits + paddle.gather(self.allowed, paddle.to_tensor(np.array(kinds)))
            # one more than wanted: the word itself is often the most probable
            values, ids = paddle.topk(logits, min(self.candidates + 1, logits.shape[-1]))
        return [
            [
                (self.tokens[i].removeprefix("##"), value)
                for i, value in zip(row, scores, strict=True)
                if value > -np.inf
            ]
            for row, scores in zip(ids.numpy().tolist(), values.numpy().tolist(), strict=True)
        ]

    def words(self, original: str, kind: str, places: list[list[tuple[str, float]]]) -> list[str]:
        """The replacements of a word, from the (piece, logit) that each of its places may hold."""
        known = self.counts if kind == "chinese" and len(places) > 1 else None
        found = compose(places, known)
        return [word for word in found if word != original.lower() and word != original][: self.candidates]


def compose(places: Sequence[Sequence[tuple[str, float]]], known: dict[str, int] | None = None) -> list[str]:
    """Words made of one piece for each place, the highest sum of the pieces' scores first (a beam of 64).

    `known` keeps to words with a count above 0; beginnings of words stand in it too. Within a word, logits rank
    combinations as log-probabilities do: the difference is the same for all of them.
    """
    beam = [("", 0.0)]
    for place in places:
        grown = [(head + piece, score + value) for head, score in beam for piece, value in place]
        if known is not None:
            grown = [(word, score) for word, score in grown if word in known]
        beam = sorted(grown, key=lambda item: (-item[1], item[0]))[:_BEAM]
    return [word for word, _ in beam if known is None or known.get(word)]


def place_kind(kind: str, index: int) -> int:
    """The row of `Predictor.allowed` for piece `index` of a word of this kind."""
    return _PLACES.index(kind if index == 0 or kind == "chinese" else f"##{kind}")
