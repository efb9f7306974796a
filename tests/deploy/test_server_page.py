"""The page at / in a real browser: answers as bars, two languages, nothing from elsewhere."""

import re

import pytest

from tests.browser import browser, missing, until


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    reason = missing()
    if reason:
        pytest.skip(reason)
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


def models(page):
    return until(
        lambda: page.run("return [...document.querySelectorAll('#models span')].map(e => e.textContent)"), "none"
    )


def cards(page):
    return page.run("return [...document.querySelectorAll('.card h3')].map(e => e.textContent)")


def test_two_models_answer_side_by_side(page, server):
    page.open(f"http://127.0.0.1:{server.port}/")
    assert models(page) == ["classification", "pairs", "regression", "tags", "reading"]
    page.type("#text", "王小明在北京，房间很宽敞")
    page.click("#send")
    until(lambda: cards(page) == ["classification", "tags"], "no answers", 20)
    answer = server.ask(body={"model": "classification", "text": "王小明在北京，房间很宽敞"}).json()["results"][0]
    best = page.run("return document.querySelector('.card .bars li').innerText")
    assert answer["label"] in best and f"{100 * answer['probability']:.1f} %" in best
    widths = page.run("return [...document.querySelectorAll('.bar')].map(e => e.style.width)")
    assert sum(float(width.rstrip("%")) for width in widths) == pytest.approx(100, abs=0.01)
    assert re.search(r"[\d.]+ (ms|毫秒)", page.text(".card .latency"))
    assert page.text(".tagged").startswith("王"), "entities stand in the text"
    assert page.complaints() == [], "nothing breaks the content security policy"


def test_pairs_have_a_second_text(page, server):
    page.open(f"http://127.0.0.1:{server.port}/")
    models(page)
    assert page.run("return document.getElementById('second').hidden")
    for box in ("#model-0", "#model-3", "#model-1", "#model-2"):
        page.click(box)
    page.type("#text", "密码忘了")
    page.type("#text-b", "怎么修改密码")
    page.click("#send")
    until(lambda: cards(page) == ["pairs", "regression"], "no answers", 20)


def test_an_answer_is_marked_in_its_context(page, server):
    page.open(f"http://127.0.0.1:{server.port}/")
    models(page)
    page.click("#model-0")
    page.click("#model-3")
    page.click("#model-4")
    context = "🌸王小明出生在北京，房间很宽敞"
    page.type("#text", "王小明在哪里")
    page.run(f"document.getElementById('text-b').value = '{context}'")
    page.click("#send")
    until(lambda: cards(page) == ["reading"], "no answer", 20)
    answer = server.ask(body={"model": "reading", "text": "王小明在哪里", "text_b": context}).json()["results"][0]
    assert page.text(".card .verdict") == answer["answer"] == context[answer["start"] : answer["end"]]
    assert page.run("return document.querySelector('.tagged mark').firstChild.textContent") == answer["answer"]
    assert page.complaints() == []


def test_both_languages(page, server):
    page.open(f"http://127.0.0.1:{server.port}/")
    models(page)
    seen = set()
    for _ in range(2):
        language = page.run("return document.documentElement.lang")
        assert page.text("#send") == {"en": "Predict", "zh-Hans": "预测"}[language]
        words = page.run("return [...document.querySelectorAll('[data-say]')].map(e => e.textContent)")
        assert all(words), "a text has no words in this language"
        seen.add(language)
        page.click("#language")
    assert seen == {"en", "zh-Hans"}


def test_a_refusal_is_shown(page, server):
    page.open(f"http://127.0.0.1:{server.port}/")
    models(page)
    page.run("document.getElementById('text').value = 'a'.repeat(1001)")
    page.click("#send")
    until(lambda: "1001 characters" in page.text("#message"), "no message", 20)
    assert page.run("return document.querySelector('[role=alert]').id") == "message"


def test_everything_has_a_name_for_those_who_do_not_see(page, server):
    page.open(f"http://127.0.0.1:{server.port}/")
    models(page)
    unnamed = page.run(
        "return [...document.querySelectorAll('input, textarea, button')].filter(e => "
        "!(e.labels?.length && e.labels[0].textContent) && !e.textContent && !e.ariaLabel).map(e => e.id)"
    )
    assert unnamed == []
    assert page.run("return document.documentElement.lang") in ("en", "zh-Hans")


def test_nothing_comes_from_elsewhere(project_root):
    folder = project_root / "paddle_ernie_tiny" / "deploy" / "server" / "page"
    for file in folder.iterdir():
        assert not re.search(r"(src|href|url|import|fetch)\W{1,3}(https?:)?//", file.read_text(encoding="utf-8")), file
