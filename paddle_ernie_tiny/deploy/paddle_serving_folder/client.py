"""Asks the service: python client.py [--url URL | --grpc HOST:PORT] TEXT [TEXT_B], or --input FILE.

HTTP needs Python alone; gRPC needs what requirements.txt installs. Writes one JSON object a row.
"""

import argparse
import contextlib
import io
import json
import sys
import urllib.request

BATCH = 500  # texts a request


class ServiceError(Exception):
    """The service answered with an error."""


def ask_http(url, texts, texts_b=None, timeout=60):
    """The answers to a list of texts (or pairs). `url` is http://HOST:PORT. Raises ServiceError."""
    fields = {"text": texts} if texts_b is None else {"text": texts, "text_b": texts_b}
    body = json.dumps({"key": list(fields), "value": [json.dumps(values) for values in fields.values()]})
    request = urllib.request.Request(url.rstrip("/") + "/ernie_tiny/prediction", data=body.encode())
    with urllib.request.urlopen(request, timeout=timeout) as response:
        answer = json.load(response)
    return _results(answer["err_no"], answer["err_msg"], answer["value"])


def ask_grpc(address, texts, texts_b=None):
    """As `ask_http`, through Paddle Serving's PipelineClient. `address` is HOST:PORT."""
    import compatibility  # noqa: F401  (before Paddle Serving)
    from paddle_serving_server.pipeline import PipelineClient

    client = PipelineClient()
    client.connect([address])
    fields = {"text": json.dumps(texts), "clientip": "127.0.0.1"}
    if texts_b is not None:
        fields["text_b"] = json.dumps(texts_b)
    with contextlib.redirect_stdout(io.StringIO()):  # PipelineClient prints
        answer = client.predict(feed_dict=fields)
    return _results(answer.err_no, answer.err_msg, answer.value)


def _results(number, message, value):
    if number != 0:
        raise ServiceError(f"error {number}: {message}")
    return json.loads(value[0])


def main():
    parser = argparse.ArgumentParser(description="Labels of texts, from the service.")
    parser.add_argument("text", nargs="?")
    parser.add_argument("text_b", nargs="?", help="the second of a pair")
    parser.add_argument("--input", help="text file, one row a line (pairs: tab between)")
    parser.add_argument("--url", default="http://127.0.0.1:$http_port", help="default: %(default)s")
    parser.add_argument("--grpc", metavar="HOST:PORT", help="ask over gRPC instead, such as 127.0.0.1:$rpc_port")
    args = parser.parse_args()
    if (args.text is None) == (args.input is None):
        parser.error("give a text or --input FILE")
    if args.input:
        with open(args.input, encoding="utf-8") as file:
            rows = [line.rstrip("\r\n").split("\t", 1) for line in file]
        for number, row in enumerate(rows, start=1):
            if len(row) != len(rows[0]):
                sys.exit(
                    f"client.py: {args.input}:{number}: a tab parts the texts of a pair; some lines hold one, some not"
                )
    else:
        rows = [[text for text in (args.text, args.text_b) if text is not None]]
    for start in range(0, len(rows), BATCH):
        part = rows[start : start + BATCH]
        texts, texts_b = [row[0] for row in part], [row[-1] for row in part] if len(part[0]) == 2 else None
        answers = ask_grpc(args.grpc, texts, texts_b) if args.grpc else ask_http(args.url, texts, texts_b)
        for answer in answers:
            print(json.dumps(answer, ensure_ascii=False))


if __name__ == "__main__":
    try:
        main()
    except (ServiceError, OSError) as error:
        sys.exit(f"client.py: {error}")
