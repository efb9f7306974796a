"""What a server answers, and how it starts, waits, refuses and ends."""

import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from paddle_ernie_tiny.deploy.predictor import Predictor
from paddle_ernie_tiny.deploy.row_files import answer_rows
from tests.browser import until
from tests.e2e.conftest import ernie_tiny
from tests.serving import serving

TEXT, OTHER = "王小明在北京，房间很宽敞", "服务不好"


def test_answers_are_those_of_the_command_predict(one_model, bundles):
    predicted = json.loads(ernie_tiny("predict", bundles["classification"], TEXT).stdout)
    assert one_model.ask(body={"text": TEXT}).json()["results"] == [predicted]


@pytest.mark.parametrize("name", ["classification", "tags", "pairs", "regression", "reading"])
def test_one_row_and_many_of_every_kind(server, bundles, name):
    predictor = Predictor(bundles[name])
    other = OTHER if predictor.manifest.pair else None
    expected = answer_rows(predictor, [TEXT], other and [other], predictor.predict([TEXT], other and [other]))[0]
    row = {"text": TEXT, "text_b": other} if other else {"text": TEXT}
    one = server.ask(body={"model": name, **row}).json()
    many = server.ask(body={"model": name, "texts": [row, row] if other else [OTHER, TEXT]}).json()
    assert one["model"] == name and one["results"] == [expected] and one["latency_ms"] > 0
    assert len(many["results"]) == 2 and many["results"][1].keys() == expected.keys()
    assert many["results"][1]["text"] == TEXT


def test_long_texts_are_read_in_windows_or_said_to_be_cut(server, bundles):
    """As `predict` does, window by window among the rows of others."""
    predictor, text = Predictor(bundles["tags"]), ("王小明在北京" * 40)[:200]
    expected = answer_rows(predictor, [text, TEXT], None, predictor.predict([text, TEXT]))
    before = _metric(server, 'ernie_tiny_batch_rows_sum{model="tags"}')
    found = server.ask(body={"model": "tags", "texts": [text, TEXT]}).json()["results"]
    assert _metric(server, 'ernie_tiny_batch_rows_sum{model="tags"}') - before == 6, (
        "room for 58 of 200 words, and TEXT"
    )
    assert [answer["text"] for answer in found] == [text, TEXT]
    for own, theirs in zip(found, expected, strict=True):
        spans = [[(e["start"], e["end"], e["label"]) for e in answer["entities"]] for answer in (own, theirs)]
        assert spans[0] == spans[1] and "truncated" not in own
    cut = server.ask(body={"model": "classification", "texts": [text, TEXT]}).json()["results"]
    assert [answer.get("truncated") for answer in cut] == [True, None]


def test_more_windows_than_may_wait_are_refused(server):
    """64 texts of 1000 characters, which the options allow, are 64 * 23 windows, and the queue holds 200."""
    reply = server.ask(body={"model": "tags", "texts": ["王小明在北京" * 166] * 64})
    assert reply.status == 422 and "windows" in reply.json()["error"]["message"]
    assert server.ask(body={"model": "tags", "text": TEXT}).status == 200


def test_requests_of_many_clients_get_their_own_answers_and_share_batches(server):
    texts = [TEXT[: 1 + i % 12] for i in range(96)]
    alone = {text: server.ask(body={"model": "classification", "text": text}).json()["results"][0] for text in texts}
    answers = [None] * len(texts)

    def ask(i):
        answers[i] = server.ask(body={"model": "classification", "text": texts[i]}).json()["results"][0]

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(len(texts))]
    before = _metric(server, 'ernie_tiny_batch_rows_count{model="classification"}')
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for text, answer in zip(texts, answers, strict=True):
        assert answer["text"] == text and answer["label"] == alone[text]["label"]
        assert answer["probability"] == pytest.approx(alone[text]["probability"], abs=1e-5)
    assert _metric(server, 'ernie_tiny_batch_rows_count{model="classification"}') - before < len(texts)


def _metric(server, name):
    return float(re.search(rf"^{re.escape(name)} (\S+)$", server.ask("/metrics").body.decode(), re.M).group(1))


def test_the_models_are_listed(server, bundles):
    models = server.ask("/v1/models").json()["models"]
    assert [model["name"] for model in models] == list(bundles)
    assert [model["long_text"] for model in models] == ["truncate", "truncate", "truncate", "windows", "windows"]
    assert models[1]["task_type"] == "pair_classification" and models[1]["labels"] == ["different", "same"]


def test_with_one_bundle_the_model_need_not_be_named(one_model):
    assert one_model.ask(body={"text": TEXT}).json()["model"] == "classification"
    assert one_model.ask(body={"model": "classification", "text": TEXT}).status == 200
    assert one_model.ask(body={"model": "other", "text": TEXT}).status == 404


def test_health_metrics_and_headers(one_model):
    assert one_model.ask("/healthz").json() == {"status": "ok"}
    assert one_model.ask("/readyz").json() == {"status": "ready"}
    one_model.ask(body={"text": TEXT})
    reply = one_model.ask("/metrics")
    assert reply.headers["content-type"].startswith("text/plain")
    assert b'ernie_tiny_rows_total{model="classification"}' in reply.body
    assert b'ernie_tiny_requests_total{method="POST",path="/v1/predict",status="200"}' in reply.body
    assert b"process_resident_memory_bytes" in reply.body
    page = one_model.ask("/")
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    assert page.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", ["/", "/page.js", "/healthz", "/readyz", "/v1/models", "/openapi.json"])
def test_head_is_answered_as_get_without_the_body(one_model, path):
    head, get = one_model.ask(path, method="HEAD"), one_model.ask(path)
    assert head.status == get.status == 200 and head.body == b""
    same = ("content-type", "content-length")
    assert [head.headers[name] for name in same] == [get.headers[name] for name in same]


def test_logs_are_json_without_the_users_texts(one_model):
    one_model.ask(body={"text": "秘密的文字 secret"})
    one_model.ask("/v1/predict/secret?q=secret", Authorization="Bearer secret")
    one_model.ask(body={"secret": "secret", "text": "secret"})
    # a line is written after its answer was sent
    until(lambda: one_model.logs()[-1].get("code") == "invalid_request", "no line for the last request")
    entries = one_model.logs()
    asked = [entry for entry in entries if entry["event"] == "request"]
    assert asked[-3]["rows"] == 1 and asked[-3]["status"] == 200 and asked[-3]["milliseconds"] > 0
    assert asked[-2]["path"] == "other" and asked[-1]["code"] == "invalid_request"
    written = one_model.log_file.read_text(encoding="utf-8")
    assert "secret" not in written and "秘密" not in written and "\\u79d8" not in written


def test_bundles_share_the_cores(bundles, tmp_path):
    models = [f"{name}={bundles['classification']}" for name in ("a", "b")]
    with serving(tmp_path, *models, "--threads", "auto", OMP_NUM_THREADS="5") as server:
        assert [entry["threads"] for entry in server.logs() if entry["event"] == "listening"] == [2]
        assert server.ask(body={"text": TEXT, "model": "b"}).status == 200


def test_an_api_key_guards_the_models_but_not_the_probes(bundles, tmp_path):
    with serving(tmp_path, bundles["classification"], ERNIE_TINY_API_KEY="k3y") as server:
        for given in ({}, {"Authorization": "Bearer k3y2"}, {"Authorization": "k3y"}, {"Authorization": "Bearer \xff"}):
            reply = server.ask(body={"text": TEXT}, **given)
            assert reply.status == 401 and reply.headers["www-authenticate"] == "Bearer"
            assert reply.json()["error"]["code"] == "unauthorized"
        assert server.ask("/v1/models").status == 401 and server.ask("/readyz").status == 200
        for scheme in ("Bearer", "bearer", "BEARER"):  # RFC 9110: the scheme's case does not count
            assert server.ask(body={"text": TEXT}, Authorization=f"{scheme} k3y").status == 200
        assert "security" in server.ask("/openapi.json").json()["paths"]["/v1/predict"]["post"]
        assert "k3y" not in server.log_file.read_text(encoding="utf-8")


def test_a_full_queue_refuses_with_429_and_recovers(bundles, tmp_path):
    options = ["--queue-rows", "64", "--max-texts", "64", "--batch-size", "1"]
    with serving(tmp_path, bundles["classification"], *options) as server:
        replies = []

        def ask():
            replies.append(server.ask(body={"texts": [TEXT * 4] * 60}))

        threads = [threading.Thread(target=ask) for _ in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert {reply.status for reply in replies} == {200, 429}
        refused = next(reply for reply in replies if reply.status == 429)
        assert refused.json()["error"]["code"] == "busy" and int(refused.headers["retry-after"]) >= 1
        assert server.ask(body={"texts": [TEXT] * 60}).status == 200


def test_a_request_that_takes_too_long_gets_503_and_its_rows_are_dropped(bundles, tmp_path):
    options = ["--max-wait-ms", "60000", "--request-seconds", "0.5", "--max-connections", "3"]
    with serving(tmp_path, bundles["classification"], *options) as server:
        reply = server.ask(body={"text": TEXT})
        assert reply.status == 503 and reply.json()["error"]["code"] == "timeout"
        assert server.ask(body={"texts": [TEXT] * 16}).status == 200, "a full batch does not wait"
        assert _metric(server, 'ernie_tiny_rows_total{model="classification"}') == 16
        held = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(3)]
        for connection in held:
            connection.sendall(
                b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n"
            )
        until(lambda: server.ask("/readyz").status == 503, "connections with a request under way do not count")
        answer = server.raw(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"HTTP/1.1 503 " in answer and b"too_many_connections" in answer
        for connection in held:
            connection.close()
        until(lambda: server.ask("/readyz").status == 200, "connections that were closed still count")


def test_a_drain_answers_what_is_under_way_and_exits_0(bundles, tmp_path):
    options = ["--max-wait-ms", "2500", "--drain-seconds", "1"]
    with serving(tmp_path, bundles["classification"], *options) as server:
        replies = []
        waiting = threading.Thread(target=lambda: replies.append(server.ask(body={"text": TEXT})))
        waiting.start()
        while _metric(server, 'ernie_tiny_queue_rows{model="classification"}') == 0:
            time.sleep(0.02)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        reply = server.ask("/readyz")
        assert reply.status == 503 and reply.json()["error"]["code"] == "draining"
        assert server.ask("/healthz").status == 200, "it lives while it drains"
        waiting.join()
        assert replies[0].status == 200
        assert server.process.wait(timeout=20) == 0
        assert server.logs()[-1]["event"] == "stopped"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no-such-folder"], "not a bundle"),
        (["{bundle}", "{bundle}"], "two bundles are called"),
        (["{bundle}", "--queue-rows", "8"], "--max-texts"),
        (["{bundle}", "--threads", "all"], "error: --threads: not a number of threads"),
        (["{bundle}", "--host", "192.0.2.1"], "cannot listen there"),
        ([], "Missing argument"),
    ],
)
def test_wrong_use_exits_2_without_a_traceback(bundles, arguments, message):
    done = ernie_tiny("serve", *[a.format(bundle=bundles["classification"]) for a in arguments])
    assert done.returncode == 2 and message in done.stderr and "Traceback" not in done.stderr


def test_a_port_in_use_is_refused(server, bundles):
    done = ernie_tiny("serve", bundles["tags"], "--port", str(server.port))
    assert done.returncode == 2 and "cannot listen there" in done.stderr


def test_the_server_imports_no_training_code():
    code = (
        "import sys; import paddle_ernie_tiny.deploy.server.serve; "
        "ours = {m.split('.')[1] for m in sys.modules if m.startswith('paddle_ernie_tiny.')}; "
        "bad = ours & {'models', 'training', 'distillation', 'augmentation', 'pipeline', 'config'}; "
        "sys.exit(str(bad) if bad or 'paddlenlp' in sys.modules else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
