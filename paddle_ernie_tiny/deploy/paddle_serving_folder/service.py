"""Raw text in, labels out: a pipeline service of Paddle Serving 0.9.0. Started by start.sh.

    python service.py [--http-port N] [--rpc-port N]

`service.json` says what the model does. The tokenisation is the toolkit's own code, in `text/`.
"""

import compatibility  # noqa: F401  isort: skip  (before all others)

import argparse
import json
import socket
import threading
import time
from pathlib import Path

import numpy as np
import yaml
from paddle_serving_server.pipeline import Op
from paddle_serving_server.web_service import WebService
from text.data.tags import entities, split_text
from text.data.tokenization import WordPieceTokenizer, pad_batch

HERE = Path(__file__).resolve().parent
NAME = "ernie_tiny"
BAD_REQUEST = 51  # Paddle Serving leaves 51 to 99 to the service's own errors
MAX_TEXTS = 1000  # a request
BATCH_SIZE = 32  # rows a forward pass
ROWS = "rows"  # which rows of the request a batch holds; travels with the batch


class BadRequest(ValueError):
    """The message goes to the client."""


class Answers(Op):
    """One step: texts to ids, ids to logits (by the local predictor), logits to answers."""

    def init_op(self):
        settings = json.loads((HERE / "service.json").read_text(encoding="utf-8"))
        self.labels = settings["labels"]
        self.kind = settings["task_type"].replace("pair_", "")
        self.pair = settings["task_type"].startswith("pair_")
        self.unit = settings["unit"]
        self.max_length = settings["max_length_tokens"]
        self.output = settings["output"]
        self.tokenizer = WordPieceTokenizer.from_folder(HERE)

    def preprocess(self, input_dicts, data_id=0, log_id=0):
        (request,) = input_dicts.values()
        try:
            texts, texts_b = self.texts(request)
        except BadRequest as error:
            return None, False, BAD_REQUEST, str(error)
        return self.batches(texts, texts_b), False, None, ""

    def process(self, feed_batch, typical_logid=0):
        rows = feed_batch[0].pop(ROWS)
        fetched, code, message = super().process(feed_batch, typical_logid)
        if fetched is not None:
            fetched[ROWS] = rows
        return fetched, code, message

    def postprocess(self, input_data, fetch_data, data_id=0, log_id=0):
        (request,) = input_data.values()
        texts, _ = self.texts(request)
        answers = [None] * len(texts)
        for batch in fetch_data:
            for row, logits in zip(batch[ROWS], batch[self.output]):  # noqa: B905  (Python 3.9 has no strict)
                answers[row] = self.answer(texts[row], logits)
        return {"results": json.dumps(answers)}, None, ""

    def texts(self, request):
        """The lists `text` and `text_b` (None where the model takes single texts) of a request."""
        wanted = ["text", "text_b"] if self.pair else ["text"]
        unknown = sorted(set(request) - set(wanted))
        if unknown:
            raise BadRequest(f"unknown key {unknown[0]!r}; this model takes {' and '.join(wanted)}")
        lists = [text_list(request, key) for key in wanted]
        if len({len(texts) for texts in lists}) > 1:
            raise BadRequest(f"{len(lists[0])} texts in text but {len(lists[1])} in text_b; give as many")
        return lists[0], lists[1] if self.pair else None

    def batches(self, texts, texts_b):
        """Feeds of up to BATCH_SIZE rows of like length."""
        if self.kind == "token_classification":
            words = [[word for word, _, _ in split_text(text, self.unit)] for text in texts]
            encoded, _ = self.tokenizer.encode_words(words, self.max_length)
        else:
            encoded = self.tokenizer.encode(texts, texts_b, self.max_length)
        order = np.argsort([len(ids) for ids in encoded.input_ids], kind="stable")
        return [
            {
                "input_ids": pad_batch([encoded.input_ids[i] for i in rows], self.tokenizer.pad_id),
                "token_type_ids": pad_batch([encoded.token_type_ids[i] for i in rows], 0),
                ROWS: rows,
            }
            for rows in (order[start : start + BATCH_SIZE] for start in range(0, len(order), BATCH_SIZE))
        ]

    def answer(self, text, logits):
        """What the toolkit's `predict` writes for the row: a score, entities, or a label and probabilities."""
        if self.kind == "regression":
            return {"score": float(logits[0])}
        probabilities = softmax(logits)
        if self.kind == "token_classification":
            return {"entities": self.entities(text, probabilities)}
        best = int(probabilities.argmax())
        return {
            "label": self.labels[best],
            "probability": float(probabilities[best]),
            "probabilities": {label: float(p) for label, p in zip(self.labels, probabilities)},  # noqa: B905
        }

    def entities(self, text, probabilities):
        words = split_text(text, self.unit)
        _, (places,) = self.tokenizer.encode_words([[word for word, _, _ in words]], self.max_length)
        of_words = probabilities[places]
        found = []
        for label, first, last in entities([self.labels[best] for best in of_words.argmax(-1)]):
            start, end = words[first][1], words[last - 1][2]
            sure = float(of_words[first:last].max(axis=-1).mean())
            found.append({"label": label, "start": start, "end": end, "text": text[start:end], "probability": sure})
        return found


def text_list(request, key):
    """The texts that a request holds under a key, as a JSON list of strings. Raises BadRequest."""
    if key not in request:
        raise BadRequest(f'no key {key!r}; send {{"key": ["{key}"], "value": ["[\\"a text\\"]"]}}')
    try:
        texts = json.loads(request[key])
    except (TypeError, ValueError, RecursionError):
        raise BadRequest(f"the value of {key!r} is not JSON; give a list of strings as JSON") from None
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise BadRequest(f"the value of {key!r} is not a JSON list of strings")
    if not 0 < len(texts) <= MAX_TEXTS:
        raise BadRequest(f"{len(texts)} texts in {key!r}; send 1 to {MAX_TEXTS} a request")
    for index, text in enumerate(texts):
        if not text.strip():
            raise BadRequest(f"text {index} of {key!r} is empty")
    return texts


def softmax(logits):
    """Softmax over the last axis, in float64."""
    exponentials = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def unpack(request):
    """The request's fields by key, in place of Paddle Serving's own reading: its errors name list indices."""
    if len(request.key) != len(request.value):
        message = f"{len(request.key)} keys but {len(request.value)} values; give each key its value"
        return None, request.logid, BAD_REQUEST, message
    if request.tensors:
        return None, request.logid, BAD_REQUEST, "tensors are not taken; give texts as key and value"
    return dict(zip(request.key, request.value)), request.logid, None, ""  # noqa: B905


class Service(WebService):
    def get_pipeline_response(self, read_op):
        read_op.unpack_request_package = unpack
        return Answers(name=NAME, input_ops=[read_op])


def announce(ports, file):
    """Writes the ports into `file` once both answer; start.sh waits for it."""
    for port in ports.values():
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                time.sleep(0.1)
    file.write_text("".join(f"{name} {port}\n" for name, port in ports.items()))


def main():
    parser = argparse.ArgumentParser(description="Raw text in, labels out; see README.md.")
    parser.add_argument("--http-port", type=int, help="in place of http_port in config.yml")
    parser.add_argument("--rpc-port", type=int, help="in place of rpc_port in config.yml")
    args = parser.parse_args()
    config = yaml.safe_load((HERE / "config.yml").read_text(encoding="utf-8"))
    config["http_port"] = args.http_port or config["http_port"]
    config["rpc_port"] = args.rpc_port or config["rpc_port"]
    local = config["op"][NAME]["local_service_conf"]
    local["model_config"] = str(HERE / local["model_config"])
    ports = {"http": config["http_port"], "rpc": config["rpc_port"]}
    service = Service(name=NAME)
    service.prepare_pipeline_config(yml_dict=config)
    threading.Thread(target=announce, args=(ports, HERE / "run" / "ready"), daemon=True).start()
    service.run_service()


if __name__ == "__main__":
    main()
