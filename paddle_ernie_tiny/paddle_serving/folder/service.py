"""Raw text in, labels out: a pipeline service of Paddle Serving 0.9.0. Started by start.sh.

    python service.py [--http-port N] [--rpc-port N]

`service.json` says what the model does. Tokenising and decoding are the toolkit's own code, in `text/`.
"""

from __future__ import annotations

import compatibility  # noqa: F401  isort: skip  (before all others)

import argparse
import json
import socket
import threading
import time
from pathlib import Path
from typing import Any

import yaml
from paddle_serving_server.pipeline import Op
from paddle_serving_server.web_service import WebService
from text.data.tokenization import pad_batch, read_tokenizer
from text.kinds import KINDS
from text.text_rule import is_blank, refused_character

HERE = Path(__file__).resolve().parent
NAME = "ernie_tiny"
BAD_REQUEST = 51  # Paddle Serving leaves 51 to 99 to the service's own errors
MAX_TEXTS = 1000  # per request
BATCH_SIZE = 32  # rows per forward pass
MAX_WINDOWS = 10_000  # of a request's texts together: a long text may have several
ROWS = "rows"  # [(place in the request, Row, its window)] of a batch; travels with the batch


class BadRequest(ValueError):
    """The message goes to the client."""


class TextOp(Op):
    """Texts to ids, ids to logits (by the local predictor), logits to answers."""

    def init_op(self) -> None:
        """Reads what the model does."""
        settings = json.loads((HERE / "service.json").read_text(encoding="utf-8"))
        self.kind, self.pair = KINDS[settings["kind"]].with_settings(settings["settings"]), settings["pair"]
        self.labels, self.output = settings["labels"], settings["output"]
        self.reading = settings["max_length_tokens"], settings["long_text"], settings["unit"]
        self.tokenizer = read_tokenizer(HERE)

    def preprocess(self, input_dicts: dict, data_id: int = 0, log_id: int = 0) -> tuple:
        """A request's batches, each of rows of like length; or what is wrong with the request."""
        (request,) = input_dicts.values()
        try:
            texts, texts_b = read_texts(request, self.pair)
        except BadRequest as error:
            return None, False, BAD_REQUEST, str(error)
        rows = self.kind.rows(self.tokenizer, texts, texts_b, *self.reading)
        parts = [(place, row, number) for place, row in enumerate(rows) for number in range(len(row.windows))]
        if len(parts) > MAX_WINDOWS:
            return None, False, BAD_REQUEST, f"the texts take {len(parts)} windows; send fewer or shorter texts"
        ordered = sorted(parts, key=lambda part: len(part[1].windows[part[2]].input_ids))
        feeds = [
            {
                "input_ids": pad_batch([row.windows[n].input_ids for _, row, n in batch], self.tokenizer.pad_id),
                "token_type_ids": pad_batch([row.windows[n].token_type_ids for _, row, n in batch], 0),
                ROWS: batch,
            }
            for batch in (ordered[start : start + BATCH_SIZE] for start in range(0, len(ordered), BATCH_SIZE))
        ]
        return feeds, False, None, ""

    def process(self, feed_batch: list[dict], typical_logid: int = 0) -> tuple:
        """One forward pass, past which the rows are carried."""
        rows = feed_batch[0].pop(ROWS)
        fetched, code, message = super().process(feed_batch, typical_logid)
        if fetched is not None:
            fetched[ROWS] = rows
        return fetched, code, message

    def postprocess(self, input_data: dict, fetch_data: list[dict], data_id: int = 0, log_id: int = 0) -> tuple:
        """The answers as JSON, in the order of the texts."""
        rows, logits = {}, {}
        for batch in fetch_data:
            for (place, row, number), output in zip(batch[ROWS], batch[self.output]):  # noqa: B905  (Python 3.9)
                rows[place] = row
                logits[place, number] = self.kind.answers(output, row.windows[number].places)
        answers = []
        for place, row in sorted(rows.items()):
            whole = self.kind.whole([logits[place, number] for number in range(len(row.windows))])
            answers.append(self.kind.as_json(self.kind.decode(row, whole, self.labels)))
        return {"results": json.dumps(answers)}, None, ""


def read_texts(request: dict[str, str], pair: bool) -> tuple[list[str], list[str] | None]:
    """The lists `text` and `text_b` (None where the model takes single texts) of a request. Raises BadRequest."""
    wanted = ["text", "text_b"] if pair else ["text"]
    unknown = sorted(set(request) - set(wanted))
    if unknown:
        raise BadRequest(f"unknown key {unknown[0]!r}; this model takes {' and '.join(wanted)}")
    lists = [_text_list(request, key) for key in wanted]
    if len({len(texts) for texts in lists}) > 1:
        raise BadRequest(f"{len(lists[0])} texts in text but {len(lists[1])} in text_b; give as many")
    return lists[0], lists[1] if pair else None


def _text_list(request: dict[str, str], key: str) -> list[str]:
    if key not in request:
        raise BadRequest(f'no key {key!r}; send {{"key": ["{key}"], "value": ["[\\"a text\\"]"]}}')
    try:
        texts = json.loads(request[key])
    except (TypeError, ValueError, RecursionError):
        raise BadRequest(f"the value of {key!r} is not JSON; give a list of strings as JSON") from None
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise BadRequest(f"the value of {key!r} is not a JSON list of strings")
    if not 0 < len(texts) <= MAX_TEXTS:
        raise BadRequest(f"{len(texts)} texts in {key!r}; send 1 to {MAX_TEXTS} per request")
    for index, text in enumerate(texts):
        if is_blank(text):
            raise BadRequest(f"text {index} of {key!r} is empty")
        if what := refused_character(text):
            raise BadRequest(f"text {index} of {key!r}: {what}")
    return texts


def unpack(request: Any) -> tuple:
    """The request's fields by key, instead of Paddle Serving's own reading: its errors name list indices."""
    if len(request.key) != len(request.value):
        message = f"{len(request.key)} keys but {len(request.value)} values; give each key its value"
        return None, request.logid, BAD_REQUEST, message
    if request.tensors:
        return None, request.logid, BAD_REQUEST, "tensors are not taken; give texts as key and value"
    return dict(zip(request.key, request.value)), request.logid, None, ""  # noqa: B905


class TextService(WebService):
    """The service: a request goes through one `TextOp`."""

    def get_pipeline_response(self, read_op: Op) -> Op:
        """The last operator of the pipeline, on top of Paddle Serving's reader of requests."""
        read_op.unpack_request_package = unpack
        return TextOp(name=NAME, input_ops=[read_op])


def announce(ports: dict[str, int], file: Path) -> None:
    """Writes the ports into `file` once both answer; start.sh waits for it."""
    for port in ports.values():
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                time.sleep(0.1)
    file.write_text("".join(f"{name} {port}\n" for name, port in ports.items()))


def main() -> None:
    """Starts the service with the ports of config.yml, or of the options."""
    parser = argparse.ArgumentParser(description="Raw text in, labels out; see README.md.")
    parser.add_argument("--http-port", type=int, help="overrides http_port in config.yml")
    parser.add_argument("--rpc-port", type=int, help="overrides rpc_port in config.yml")
    args = parser.parse_args()
    config = yaml.safe_load((HERE / "config.yml").read_text(encoding="utf-8"))
    ports = {"http": args.http_port or config["http_port"], "rpc": args.rpc_port or config["rpc_port"]}
    config.update(http_port=ports["http"], rpc_port=ports["rpc"])
    local = config["op"][NAME]["local_service_conf"]
    local["model_config"] = str(HERE / local["model_config"])
    service = TextService(name=NAME)
    service.prepare_pipeline_config(yml_dict=config)
    threading.Thread(target=announce, args=(ports, HERE / "run" / "ready"), daemon=True).start()
    service.run_service()


if __name__ == "__main__":
    main()
