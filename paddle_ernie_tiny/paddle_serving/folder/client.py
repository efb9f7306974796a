"""Asks the service: python client.py [--url URL | --grpc HOST:PORT] TEXT [TEXT_B], or --input FILE.

HTTP needs Python alone; gRPC needs what requirements.txt installs. Writes one JSON object per row.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import sys
import urllib.request

BATCH = 500  # texts per request


class ServiceError(Exception):
    """The service answered with an error."""


def ask_http(url: str, texts: list[str], texts_b: list[str] | None = None, timeout: float = 60) -> list[dict]:
    """The answers to a list of texts (or pairs). `url` is http://HOST:PORT. Raises ServiceError."""
    fields = request_fields(texts, texts_b)
    body = json.dumps({"key": list(fields), "value": list(fields.values())})
    request = urllib.request.Request(url.rstrip("/") + "/ernie_tiny/prediction", data=body.encode())
    with urllib.request.urlopen(request, timeout=timeout) as response:
        answer = json.load(response)
    return results(answer["err_no"], answer["err_msg"], answer["value"])


def ask_grpc(address: str, texts: list[str], texts_b: list[str] | None = None) -> list[dict]:
    """As `ask_http`, through Paddle Serving's PipelineClient. `address` is HOST:PORT."""
    import compatibility  # noqa: F401  (before Paddle Serving)
    from paddle_serving_server.pipeline import PipelineClient

    client = PipelineClient()
    client.connect([address])
    with contextlib.redirect_stdout(io.StringIO()):  # PipelineClient prints
        answer = client.predict(feed_dict={**request_fields(texts, texts_b), "clientip": "127.0.0.1"})
    return results(answer.err_no, answer.err_msg, answer.value)


def request_fields(texts: list[str], texts_b: list[str] | None) -> dict[str, str]:
    """A request's keys and values: each value is a JSON list."""
    return {"text": json.dumps(texts), **({} if texts_b is None else {"text_b": json.dumps(texts_b)})}


def results(number: int, message: str, value: list[str]) -> list[dict]:
    """The answers that a response holds. Raises ServiceError if it holds an error."""
    if number != 0:
        raise ServiceError(f"error {number}: {message}")
    return json.loads(value[0])


def read_rows(path: str) -> list[list[str]]:
    """One row per line, of one text or of two with a tab between. Raises ServiceError that names file and line."""
    with open(path, encoding="utf-8") as file:
        rows = [line.rstrip("\r\n").split("\t", 1) for line in file]
    for number, row in enumerate(rows, start=1):
        if len(row) != len(rows[0]):
            raise ServiceError(
                f"{path}:{number}: a tab separates the texts of a pair; some lines have one, some do not"
            )
    return rows


def main() -> None:
    """Asks for what the command line gives, and prints the answers."""
    parser = argparse.ArgumentParser(description="Labels of texts, from the service.")
    parser.add_argument("text", nargs="?")
    parser.add_argument("text_b", nargs="?", help="the second of a pair")
    parser.add_argument("--input", help="text file, one row per line (pairs: tab between)")
    parser.add_argument("--url", default="http://127.0.0.1:$http_port", help="default: %(default)s")
    parser.add_argument("--grpc", metavar="HOST:PORT", help="ask over gRPC instead, such as 127.0.0.1:$rpc_port")
    args = parser.parse_args()
    if (args.text is None) == (args.input is None):
        parser.error("give a text or --input FILE")
    rows = read_rows(args.input) if args.input else [[text for text in (args.text, args.text_b) if text is not None]]
    for start in range(0, len(rows), BATCH):
        part = rows[start : start + BATCH]
        texts, texts_b = [row[0] for row in part], [row[1] for row in part] if len(part[0]) == 2 else None
        for answer in ask_grpc(args.grpc, texts, texts_b) if args.grpc else ask_http(args.url, texts, texts_b):
            print(json.dumps(answer, ensure_ascii=False))


if __name__ == "__main__":
    try:
        main()
    except (ServiceError, OSError) as error:
        sys.exit(f"client.py: {error}")
