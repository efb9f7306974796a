"""A bundle on the real Paddle Serving 0.9.0: raw text over HTTP and gRPC, the same answers as the Predictor's."""

import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from paddle_ernie_tiny.deploy.predictor import Predictor

from .conftest import ernie_tiny
from .serving_environment import serving_python

ODD_TEXTS = ["Apple😀 2026№ Ünïcode", "房间 [SEP] 很好", "早餐丰富，服务周到。" * 30, "a", "\u3000tab\there"]


@dataclass
class Service:
    folder: Path
    python: Path
    http_port: int
    rpc_port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def client(self):
        """The folder's client.py as a module."""
        spec = importlib.util.spec_from_file_location("serving_client", self.folder / "client.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    def script(self, name: str, *arguments) -> subprocess.CompletedProcess:
        environment = {**os.environ, "PYTHON": str(self.python)}
        command = [self.folder / name, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)

    def post(self, body: str) -> dict:
        request = urllib.request.Request(f"{self.url}/ernie_tiny/prediction", data=body.encode())
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            return {"status": error.code, **json.load(error)}

    def processes(self) -> list[int]:
        """Every process that runs in this folder."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if Path(os.readlink(process / "cwd")).is_relative_to(self.folder):
                    found.append(int(process.name))
            except OSError:
                continue
        return found


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@contextmanager
def written(bundle: Path, folder: Path, python: Path):
    """The folder of a bundle; whatever runs in it at the end is killed."""
    ports = free_ports(2)
    done = ernie_tiny("export-serving", bundle, folder, "--http-port", ports[0], "--rpc-port", ports[1])
    assert done.returncode == 0, done.stderr
    service = Service(folder, python, *ports)
    try:
        yield service
    finally:
        for process in service.processes():
            os.kill(process, signal.SIGKILL)


@contextmanager
def running(bundle: Path, folder: Path, python: Path):
    with written(bundle, folder, python) as service:
        done = service.script("start.sh")
        assert done.returncode == 0, done.stderr
        yield service
        service.script("stop.sh")


@pytest.fixture(scope="session")
def python(project_root, tmp_path_factory) -> Path:
    """The environment as a tagger's folder asks for it: what others need, and seqeval."""
    templates = project_root / "paddle_ernie_tiny" / "paddle_serving" / "folder"
    requirements = tmp_path_factory.mktemp("requirements") / "requirements.txt"
    names = ("requirements.txt", "requirements-token_classification.txt")
    requirements.write_text("".join((templates / name).read_text() for name in names))
    return serving_python(requirements)


@pytest.fixture(scope="module")
def texts(finished) -> list[str]:
    lines = (finished.folder / "test.tsv").read_text(encoding="utf-8").splitlines()[1:]
    return [line.split("\t")[0] for line in lines] + ODD_TEXTS


@pytest.fixture(scope="module")
def bundle(finished, texts, tmp_path_factory) -> Path:
    """The student with large random weights: each text has a probability of its own, so a wrong id shows."""
    folder = tmp_path_factory.mktemp("random")
    shutil.copytree(finished.root / "stages" / "4-task_specific" / "final", folder / "final")
    file = folder / "final" / "model.safetensors"
    rng = np.random.default_rng(0)
    weights = {
        name: rng.normal(0, 1, value.shape).astype(value.dtype) if value.ndim == 2 else value
        for name, value in load_file(file).items()
    }
    save_file(weights, file, metadata={"format": "np"})
    (folder / "rows.txt").write_text("\n".join(texts[:8]) + "\n", encoding="utf-8")
    rows = ["--input", folder / "rows.txt", "--max-length", 32]
    done = ernie_tiny("export", folder / "final", folder / "bundle", *rows)
    assert done.returncode == 0, done.stderr
    return folder / "bundle"


@pytest.fixture(scope="module")
def service(python, bundle, tmp_path_factory):
    folder = tmp_path_factory.mktemp("serving").resolve() / "folder"
    with running(bundle, folder, python) as service:
        yield service


def assert_same(answers: list[dict], predictions) -> None:
    assert len(answers) == len(predictions)
    for answer, prediction in zip(answers, predictions, strict=True):
        assert answer["label"] == prediction.label
        assert answer["probability"] == pytest.approx(prediction.probability, abs=1e-4)
        assert answer["probabilities"] == pytest.approx(prediction.probabilities, abs=1e-4)


def test_http_and_grpc_answer_as_the_predictor(service, bundle, texts, tmp_path):
    predictions = Predictor(bundle).predict(texts)
    assert len({round(prediction.probabilities["positive"], 2) for prediction in predictions}) > 20, "all look the same"
    assert_same(service.client.ask_http(service.url, texts), predictions)

    file = tmp_path / "texts.txt"
    command = [service.python, service.folder / "client.py", "--input", file]
    command += ["--grpc", f"127.0.0.1:{service.rpc_port}"]
    file.write_text("\n".join(texts) + "\n", encoding="utf-8")
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and f"texts.txt:{len(texts)}: a tab separates the texts of a pair" in done.stderr
    file.write_text("\n".join(texts[:-1]) + "\n", encoding="utf-8")
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert_same([json.loads(line) for line in done.stdout.splitlines()], predictions[:-1])


def test_the_readme_s_request_is_answered(service):
    readme = (service.folder / "README.md").read_text(encoding="utf-8")
    (line,) = [line for line in readme.splitlines() if line.startswith("curl ")]
    done = subprocess.run(["sh", "-c", line.replace("curl ", "curl -s ")], capture_output=True, text=True)
    answer = json.loads(done.stdout)
    assert answer["err_no"] == 0 and "label" in json.loads(answer["value"][0])[0]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("{}", "no key 'text'"),
        ('{"key": ["text"], "value": []}', "1 keys but 0 values"),
        ('{"key": ["text"], "value": ["not JSON"]}', "not JSON"),
        ('{"key": ["text"], "value": ["[1]"]}', "not a JSON list of strings"),
        ('{"key": ["text"], "value": ["[]"]}', "0 texts in 'text'"),
        ('{"key": ["text"], "value": ["[\\"a\\", \\" \\"]"]}', "text 1 of 'text' is empty"),
        ('{"key": ["text"], "value": ["[\\"\\\\u200b\\"]"]}', "text 0 of 'text' is empty"),
        ('{"key": ["text"], "value": ["[\\"a\\\\u0007\\"]"]}', "text 0 of 'text': control character"),
        ('{"key": ["text", "text_b"], "value": ["[\\"a\\"]", "[\\"b\\"]"]}', "unknown key 'text_b'"),
        ('{"tensors": [{"name": "text", "elem_type": 99}]}', "tensors are not taken"),
    ],
)
def test_a_bad_request_is_refused_and_the_next_one_answered(service, body, message):
    answer = service.post(body)
    assert answer["err_no"] == 51 and message in answer["err_msg"]
    assert service.post('{"key": ["text"], "value": ["[\\"好\\"]"]}')["err_no"] == 0


def test_a_body_of_another_shape_is_refused_by_the_gateway(service):
    for body in ("no JSON", "[]", '{"key": ["text"], "value": [5]}'):
        assert service.post(body)["status"] == 400
    assert service.post('{"key": ["text"], "value": ["[\\"好\\"]"]}')["err_no"] == 0


def test_starting_twice_changes_nothing(service):
    before = service.processes()
    done = service.script("start.sh")
    assert done.returncode == 0 and "already running" in done.stdout
    assert service.processes() == before


def test_stop_leaves_no_process_and_frees_the_ports(python, bundle, tmp_path):
    with running(bundle, tmp_path / "folder", python) as service:
        assert len(service.processes()) == 2, "the service and its gateway"
        done = service.script("stop.sh")
        assert done.returncode == 0 and done.stdout == "stopped\n"
        assert service.processes() == []
        for port in (service.http_port, service.rpc_port):
            with socket.socket() as free:
                free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                free.bind(("", port))
        assert service.script("stop.sh").stdout == "not running\n"
        # the gateway outlives a service that was killed; stop.sh ends it too
        assert service.script("start.sh").returncode == 0
        os.kill(int((service.folder / "run" / "service.pid").read_text()), signal.SIGKILL)
        assert service.processes()
        assert service.script("stop.sh").returncode == 0
        assert service.processes() == []


def test_a_start_that_fails_says_why(python, bundle, tmp_path):
    with written(bundle, tmp_path / "folder", python) as service, socket.socket() as taken:
        taken.bind(("", service.rpc_port))
        taken.listen()
        done = service.script("start.sh")
        assert done.returncode == 1 and f"{service.rpc_port} is already used" in done.stderr
        (service.folder / "serving_server" / "inference.pdmodel").write_bytes(b"broken")
        done = service.script("start.sh", "--rpc-port", free_ports(1)[0])
        assert done.returncode == 1 and "did not start" in done.stderr
        assert service.processes() == []


def test_pairs_with_scores(python, regressor, tmp_path):
    texts, texts_b = ["今天没有人来", "我在北京见到李华" * 8, "大理"], ["北京的冬天很冷", "大理的冬天", "大理" * 40]
    bundle = regressor.root / "bundle"
    scores = [answer.score for answer in Predictor(bundle).predict(texts, texts_b)]
    with running(bundle, tmp_path / "folder", python) as service:
        answers = service.client.ask_http(service.url, texts, texts_b)
        assert [answer["score"] for answer in answers] == pytest.approx(scores, abs=1e-4)
        answer = service.post(json.dumps({"key": ["text", "text_b"], "value": ['["a", "b"]', '["c"]']}))
        assert answer["err_no"] == 51 and "2 texts in text but 1 in text_b" in answer["err_msg"]
        assert "no key 'text_b'" in service.post('{"key": ["text"], "value": ["[\\"a\\"]"]}')["err_msg"]


def test_entities(python, tagger, tmp_path):
    texts = ["王小明 昨天去了北京", "我在大理见到李华", "今天没有人来", "赵云说上海不错" * 9]
    bundle = tagger.root / "bundle"
    expected = [[asdict(entity) for entity in row] for row in Predictor(bundle).predict(texts)]
    assert any(expected), "the tagger finds nothing"
    with running(bundle, tmp_path / "folder", python) as service:
        answers = [answer["entities"] for answer in service.client.ask_http(service.url, texts)]
    for found, wanted in zip(answers, expected, strict=True):
        assert [entity.pop("probability") for entity in found] == pytest.approx(
            [entity.pop("probability") for entity in wanted], abs=1e-4
        )
        assert found == wanted
