"""Search documents by the vectors of an exported student: the first half of a RAG system, on a CPU.

python examples/search_documents.py runs/search/bundle examples/own_task/data/help_centre/search_test.tsv "手机开不了机"

The file has a column `document`. What is printed is the prompt for a language model: the nearest documents, with the
question. It needs only the bundle, not PaddleNLP.
"""

import csv
import sys
from pathlib import Path

import numpy as np

import paddle_ernie_tiny as et

NEAREST = 3


class Index:
    """Documents with their vectors, [documents, width], in memory: millions of numbers are searched in milliseconds."""

    def __init__(self, predictor: et.Predictor, documents: list[str]):
        self.predictor, self.documents = predictor, documents
        self.vectors = self._unit(documents)

    def _unit(self, texts: list[str]) -> np.ndarray:
        vectors = self.predictor.logits(texts)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def search(self, question: str, count: int = NEAREST) -> list[tuple[float, str]]:
        """The nearest documents, with their cosines."""
        similarities = self.vectors @ self._unit([question])[0]
        return [(float(similarities[i]), self.documents[i]) for i in np.argsort(-similarities)[:count]]


def main(bundle: str, file: str, *questions: str) -> None:
    with Path(file).open(encoding="utf-8", newline="") as rows:
        documents = sorted({row["document"] for row in csv.DictReader(rows, delimiter="\t")})
    index = Index(et.Predictor(bundle), documents)
    for question in questions:
        print("根据下面的资料回答问题。")
        for similarity, document in index.search(question):
            print(f"- {document}  ({similarity:.3f})")
        print(f"问题：{question}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
