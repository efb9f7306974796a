"""A server of bundles that give a text any number of labels: its OpenAPI holds, and the page shows them all."""

import pytest

from paddle_ernie_tiny.deploy.predictor import Predictor
from tests.browser import browser, missing, until
from tests.bundles import MORE_KINDS, make_bundles
from tests.serving import serving


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    return make_bundles(tmp_path_factory.mktemp("bundles"), [n for n in MORE_KINDS if n.startswith("topics")])


@pytest.fixture(scope="module")
def server(bundles, tmp_path_factory):
    named = [f"{name}={folder}" for name, folder in bundles.items()]
    with serving(
        tmp_path_factory.mktemp("server"), *named, "--max-characters", "1000", blocked=("paddlenlp",)
    ) as running:
        yield running


def test_answers_are_the_predictor_s(server, bundles):
    texts = ["房间很宽敞", "王小明在北京"]
    predictor = Predictor(bundles["topics"])
    found = server.ask(body={"model": "topics", "texts": texts}).json()["results"]
    expected = [predictor.kind.as_json(answer) for answer in predictor.predict(texts)]
    assert found == [{"text": text, **answer} for text, answer in zip(texts, expected, strict=True)]
    assert list(found[0]) == ["text", "labels", "probabilities"]
    pair = server.ask(body={"model": "topics_of_pairs", "text": "房间", "text_b": "很好"}).json()["results"]
    assert list(pair[0]) == ["text", "text_b", "labels", "probabilities"]


def test_every_answer_is_documented(server, tmp_path):
    statuses = {status for _, status in server.answer_schemathesis(tmp_path)}
    assert {200, 405, 415, 422} <= statuses


def test_the_page_shows_every_label_that_is_given(server, bundles, tmp_path):
    if reason := missing():
        pytest.skip(reason)
    answer = Predictor(bundles["topics"]).predict(["房间很宽敞"])[0]
    with browser(tmp_path) as page:
        page.open(f"http://127.0.0.1:{server.port}/")
        page.type("#text", "房间很宽敞")
        page.click("#send")
        until(lambda: page.run("return document.querySelectorAll('.card').length"), "no answer", 20)
        shown = page.run("return document.querySelector('.card .verdict').textContent")
        assert shown in ([", ".join(answer.labels)] if answer.labels else ["No label", "没有标签"])
        bars = page.run(
            "return [...document.querySelectorAll('.bars li.given span:first-child')].map(e => e.textContent)"
        )
        assert sorted(bars) == sorted(answer.labels)
        assert page.run("return document.querySelectorAll('.bars li').length") == 3
        assert page.complaints() == []
