"""Sentence vectors: texts that mean the same are near one another. The similarity of two texts is their cosine.

A row is a text; a pair of texts with a score of how alike they are; a query with a document that answers it; or these
two and a document that does not, with or without the margin between both (Margin-MSE). Each text goes through the model
by itself. A vector is the mean of the last states of a text's tokens, or the first token's (`pooling`); where it is not
as wide as these states, a linear layer projects it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np

from .breakdown import of_scores
from .kind import Kind, said_truncated
from .learning import SCORE
from .metrics import METRICS
from .scored import Scored
from .vectors import VECTOR_METRICS, FoundDocuments, ScoredPairs, cosines, mean_cosine, sorts_of

# of the labels of a text in training: its place in the row, the score, the numbers of the document and the query
_PLACE, _SCORE, _DOCUMENT, _QUERY = range(4)


@dataclass(frozen=True)
class EmbeddingSettings:
    """How a vector is made, and how its loss on labels is computed.

    pooling: of the tokens' states. normalise: are vectors of length 1? width: of a vector; None: the teacher's.
    temperature: of the similarities to the documents of a batch. lowest_score, highest_score: the scores that mean
    cosine 0 and 1. margin_scale: of the difference of two cosines, before it is compared with a margin.
    """

    pooling: Literal["mean", "first"] = "mean"
    normalise: bool = True
    width: int | None = None
    temperature: float = 0.05
    lowest_score: float = 0.0
    highest_score: float = 1.0
    margin_scale: float = 1.0

    def __post_init__(self) -> None:
        if self.width is not None and not 1 <= self.width <= 65_536:
            raise ValueError(f"width: expected 1 to 65536, got {self.width}")
        if not (0 < self.temperature <= 1e6 and 0 < self.margin_scale <= 1e6):
            raise ValueError("temperature, margin_scale: expected numbers above 0, at most 1e6")
        if not -1e15 < self.lowest_score < self.highest_score < 1e15:
            raise ValueError("highest_score: expected a number above lowest_score")


@dataclass(frozen=True)
class Vector:
    """A text's vector; `truncated`: was a part of the text left out?"""

    embedding: list[float]
    truncated: bool = False


class SentenceEmbedding(Kind):
    """A vector for each text."""

    name = "embedding"
    description = "a vector for each text (similarity, search)"
    head, saved_head = "ForTokenClassification", "ForEmbedding"
    Settings = EmbeddingSettings
    has_labels = may_pair = needs_label = False
    no_probe, no_soft = "vectors are compared as they are", "vectors are nothing that a file holds"
    gives_vectors, unread = True, ("pooler",)
    long_texts = ("truncate", "head_tail")
    soft_losses = ("cosine", "mse")
    soft_symbols = {"cosine": "1 - cos(v_T, v_S)", "mse": "MSE(v_T, v_S)"}
    hard_symbol = "loss of similarities(labels, student)"
    pipeline_tag, unit_name = "sentence-similarity", "texts"
    answer_fields = {"embedding": list[float]}
    example_answer = '{"embedding": [...]}'
    own_metrics = VECTOR_METRICS

    @property
    def outputs(self):
        return tuple(map(str, range(self.settings.width or 0)))

    def settings_for(self, hidden_size):
        return {} if self.settings.width else {"width": hidden_size}

    def is_bare(self, hidden_size):
        return self.settings.width == hidden_size

    # --- labels and rows -------------------------------------------------------------------------------------------

    def parse_label(self, name, labels):
        from .regression import Regression

        return Regression().parse_label(name, labels)

    def read(self, files, table, labels, require_label=True, problems=None, soft=None):
        """Pairs of a file without scores are queries and their documents; the label is the document's number."""
        from ..data.formats import files_of
        from ..data.readers import read_examples
        from ..errors import InputError

        examples, numbers = list[Any](), dict[str, int]()
        for path in files_of(files):
            parse = partial(self.parse_label, labels=labels)
            rows = read_examples(path, table, parse, None, False, problems, optional={"text_b", "text_c"})
            for row in rows:
                if row.text_b is None and (row.label is not None or row.text_c is not None):
                    what = "a score but one text" if row.text_c is None else "a third text but no second one"
                    raise InputError(what, f"{path}:{row.line}", "give both texts of a pair; see data.columns")
            if all(row.label is None for row in rows):
                for number, row in enumerate(rows):
                    if row.text_b is not None:
                        rows[number] = replace(row, label=numbers.setdefault(row.text_b, len(numbers)))
            examples += rows
        return examples

    def read_unlabelled(self, files, table, labels, unit, problems, soft=None):
        return self.read(files, replace(table, label=None), labels, False, problems)

    def check_training_rows(self, train, labels, where):
        from ..errors import InputError

        low, high = self.settings.lowest_score, self.settings.highest_score
        scored = [row for row in train if isinstance(row.label, float) and row.text_c is None]
        for row in scored:
            if not low <= row.label <= high:
                said = f"similarities are said to be from {low:g} to {high:g}"
                what = f"a score of {row.label:g} on line {row.line}; {said}"
                remedy = "set task.settings.lowest_score and highest_score to the range of the scores"
                raise InputError(what, where, remedy)

    def check_scored_rows(self, rows, metric, where):
        from ..errors import InputError

        if any(row.text_c is not None for row in rows):
            what = "triples are for training alone: a model is scored on pairs"
            raise InputError(what, where, "give scored pairs, or queries with their documents")
        found = metric != "spearman"
        if others := sum(isinstance(row.label, int) != found for row in rows):
            have = "pairs with scores" if found else "queries with their documents"
            fitting = "spearman" if found else "recall_at_1, recall_at_10 or mrr_at_10"
            what = f"metric {metric} does not score {have}, as {others} of {len(rows)} rows are"
            raise InputError(what, where, f"set task.metric to {fitting}, or leave them out")

    def encode(self, tokenizer, examples, max_length, long_text="truncate", beside=None):
        from ..data.rows import EncodedRows

        texts = [[text for text in row.content if text is not None] for row in examples]
        encoded = self._encoded(tokenizer, texts, max_length, long_text)
        queries, labels, gold, groups = dict[str, int](), [], [], []
        for row, own in zip(examples, texts):  # noqa: B905 (Python 3.9)
            query = queries.setdefault(row.text, len(queries))
            for place in range(len(own)):
                labels.append([place, *self._numbers(row), query])
            gold += [row.label] * len(own)
            groups += [query] * len(own)
        ids, values = (encoded.input_ids, encoded.token_type_ids), np.array(labels, np.float32).reshape(-1, 4)
        return EncodedRows(*ids, values, gold, groups=np.array(groups, np.int64), rows=encoded.rows, together=True)

    def _numbers(self, row: Any) -> tuple[float, int]:
        """A row's score (of a pair from 0 to 1; NaN: none) and its document's number (-1: none)."""
        if isinstance(row.label, float):
            return self._scaled(row.label) if row.text_c is None else row.label, -1
        return np.nan, -1 if row.label is None else row.label

    def _scaled(self, score: Any) -> Any:
        """The cosine that a score means, 0 to 1."""
        return (score - self.settings.lowest_score) / (self.settings.highest_score - self.settings.lowest_score)

    def findings(self, splits, labels):
        from ..errors import Finding

        return [
            Finding("note", "rows", said, f"data.{name}") for name, rows in splits.items() for said in sorts_of(rows)
        ]

    def raw_rows(self, path, table, labels, unit, problems):
        return super().raw_rows(path, replace(table, text_b=None, text_c=None), labels, unit, problems)

    def tokenize(self, tokenizer, texts, texts_b, max_length, long_text="truncate"):
        rows = [[text] for text in texts]
        for row, text in zip(rows, texts_b or ()):  # noqa: B905 (Python 3.9)
            row += [text] if text else []
        return self._encoded(tokenizer, rows, max_length, long_text), None

    def _encoded(self, tokenizer: Any, rows: Sequence[Sequence[str]], max_length: int, long_text: str) -> Any:
        """The texts of each row as its windows."""
        from ..data.windows import numbered

        encoded = tokenizer.encode([text for row in rows for text in row], None, max_length, long_text)
        cut = iter(encoded.cut)
        encoded.cut = [any([next(cut) for _ in row]) for row in rows]
        encoded.rows = numbered([len(row) for row in rows])
        return encoded

    # --- a model and its output ------------------------------------------------------------------------------------

    @property
    def graphs(self) -> tuple[str, ...]:  # type: ignore[override]
        """The last layer answers for the first token alone, if no other is pooled."""
        return ("served", "plain") if self.settings.pooling == "first" else ("plain",)

    def model_class(self, base):
        """PaddleNLP's token classifier, whose output is one vector, [batch, width], where it is pooled before the
        linear layer: as good as after it, and cheaper."""
        from paddle import nn

        settings = self.settings

        class SentenceEncoder(base):  # type: ignore[misc, valid-type]
            def __init__(self, config):
                super().__init__(config)
                if config.num_labels == config.hidden_size:
                    self.classifier = nn.Identity()

            def forward(self, input_ids, token_type_ids=None, attention_mask=None):
                encoder = getattr(self, self.base_model_prefix)
                states = encoder(input_ids, token_type_ids=token_type_ids, attention_mask=attention_mask)
                states = states[0] if isinstance(states, tuple) else states  # ELECTRA's are alone
                if settings.pooling == "first":
                    pooled = states[:, 0]
                else:
                    mask = attention_mask.astype(states.dtype).unsqueeze(-1)
                    pooled = (states * mask).sum(1) / mask.sum(1).clip(min=1.0)
                vectors = self.classifier(self.dropout(pooled))
                if not settings.normalise:
                    return vectors
                return vectors / vectors.square().sum(-1, keepdim=True).clip(min=1e-12).sqrt()

        SentenceEncoder.__name__ = base.__name__.replace(self.head, self.saved_head)
        return SentenceEncoder

    def whole(self, parts):
        """The vectors of a row's texts, [texts, width]."""
        return np.concatenate(parts)

    def decode(self, row, answers, labels):
        return Vector([float(value) for value in answers[0]], row.truncated)

    def as_json(self, answer):
        return {"embedding": [round(value, 6) for value in answer.embedding], **said_truncated(answer)}

    # --- learning and measuring ------------------------------------------------------------------------------------

    def labelled(self, labels):
        """Which texts are the first of a row with a label: bool [batch], of labels [batch, 4]."""
        import paddle

        known = (labels[:, _DOCUMENT] >= 0).logical_or(~paddle.isnan(labels[:, _SCORE]))
        return known.logical_and(labels[:, _PLACE] == 0)

    def hard_label(self, output, labels, class_weights=None):
        """Mean over labelled rows; output [batch, width], labels float32 [batch, 4], the texts of a row side by side.

        A pair with a score: (cosine - score)^2. A triple with a margin: (difference of both cosines, times
        `margin_scale`, - margin)^2 (Margin-MSE, arXiv 2010.02666, eq. 1). A query and its document: cross-entropy of
        the cosines, over the temperature, to all documents of the batch, wrong ones of triples among them; other
        documents of the query are left out (DPR, arXiv 2004.04906, eq. 2).
        """
        import paddle
        import paddle.nn.functional as F

        known, vectors = labels.numpy(), F.normalize(output.astype("float32"), axis=-1)
        starts = np.flatnonzero(known[:, _PLACE] == 0)
        texts = np.diff(starts, append=len(known))
        scored, found = ~np.isnan(known[starts, _SCORE]), known[starts, _DOCUMENT] >= 0

        def similar(places: np.ndarray, offset: int) -> Any:
            pairs = (paddle.to_tensor(at) for at in (places, places + offset))
            one, other = (paddle.gather(vectors, at) for at in pairs)
            return (one * other).sum(-1)

        losses = [vectors.sum().reshape([1]) * 0.0]
        if len(pairs := starts[scored & (texts == 2)]):
            losses.append((similar(pairs, 1) - paddle.to_tensor(known[pairs, _SCORE])).square())
        if len(triples := starts[scored & (texts == 3)]):
            margins = self.settings.margin_scale * (similar(triples, 1) - similar(triples, 2))
            losses.append((margins - paddle.to_tensor(known[triples, _SCORE])).square())
        if len(queries := starts[found]):
            losses.append(self._among_documents(vectors, known, queries, starts[found & (texts == 3)]))
        return paddle.concat(losses).sum() / max(1, len(pairs) + len(triples) + len(queries))

    def _among_documents(self, vectors: Any, known: np.ndarray, queries: np.ndarray, triples: np.ndarray) -> Any:
        """Of each query, the cross-entropy of its document among those of the batch: [queries]."""
        import paddle

        from ..terms.similarity import document_cross_entropy

        left_out = np.zeros((len(queries), len(queries) + len(triples)), dtype=bool)
        for column in (_DOCUMENT, _QUERY):
            left_out[:, : len(queries)] |= known[queries, column][:, None] == known[queries, column][None]
        np.fill_diagonal(left_out, False)
        places = queries, np.concatenate([queries + 1, triples + 2])
        asked, read = (paddle.gather(vectors, paddle.to_tensor(at)) for at in places)
        return document_cross_entropy(asked, read, left_out, self.settings.temperature)

    def soft_label(self, loss, student, teacher, temperature, labels, mask):
        """1 - cosine, or the squared error (Reimers and Gurevych, arXiv 2004.09813, eq. 1), of both models' vectors:
        [batch, width] twice."""
        import paddle.nn.functional as F

        from ..terms import losses

        if loss == "mse":
            return losses.logits_mse(student, teacher)
        return (1 - F.cosine_similarity(student.astype("float32"), teacher.astype("float32"), axis=-1)).mean()

    def floor(self, train, labels):
        from .vectors import VectorModel

        return VectorModel(train)

    def scored(self, outputs, gold, labels, groups=None):
        """Vectors of rows of two texts, [2, width] each, with scores or with the numbers of documents."""
        right = np.array([np.ravel([of_row])[0] for of_row in gold])
        return (FoundDocuments if right.dtype.kind == "i" else ScoredPairs)(outputs, right, (SCORE,), groups)

    def arrays(self, scored):
        return {**super().arrays(scored), "labels": scored.targets[scored.rows]}

    def fidelity(self, own, teacher):
        from .vectors import vector_fidelity

        return vector_fidelity(own, teacher)

    def scores(self, metric, scored):
        return {name: METRICS[name](scored) for name in dict.fromkeys((metric, *scored.shown))}

    def in_short(self, logits: np.ndarray, labels: Sequence[str]) -> dict[str, float]:
        """The mean cosine of two texts, of vectors [texts, width]."""
        return {"mean cosine of two texts": mean_cosine(logits)}

    def breakdown(self, scored):
        """The errors of the cosines from the scores, scaled to 0 to 1; of searched documents every metric."""
        found = isinstance(scored, FoundDocuments)
        return scored.breakdown if found else of_scores(Scored.of(scored.predictions, self._scaled(scored.targets)))

    def errors(self, scored):
        return scored.misses if isinstance(scored, FoundDocuments) else super().errors(scored)

    def error_of(self, output, gold):
        return abs(float(cosines(*output[:2])) - self._scaled(gold))  # of a pair; see `errors`

    def named(self, output, gold, labels):
        cosine = f"cosine {float(cosines(*output[:2])):.4f}"
        return (cosine, f"{gold:.4g}") if isinstance(gold, float) else ("another document", f"its document, {cosine}")
