"""The page: what it may load, both languages; all of it in a browser (Playwright, a Chromium)."""

import re
import shutil

import pytest
from tests.serve.conftest import served

from shoestring.serve import app as serve_app

SCRIPT, MARKUP, STYLE = (
    (serve_app.PAGE / name).read_text(encoding="utf-8")
    for name in ("page.js", "index.html", "page.css")
)


@pytest.mark.parametrize("file", sorted(serve_app.PAGE.iterdir()), ids=lambda file: file.name)
def test_nothing_comes_from_another_host_and_no_text_becomes_markup(file):
    text = file.read_text(encoding="utf-8")
    assert not re.search(
        r"https?:|//[a-z]|@import|url\(", re.sub(r"^\s*//.*", "", text, flags=re.M)
    )
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(", text)
    assert " style=" not in text and " onclick=" not in text  # the policy would forbid them


def test_every_file_of_the_page_is_served_and_no_other():
    there = {file.name for file in serve_app.PAGE.iterdir()}
    assert there == {*serve_app.FILES.values()}


def test_both_languages_say_the_same_things():
    english, chinese = (
        {*re.findall(r"^\s+(\w+):|(?<=, )(\w+): [\"(]", part, flags=re.M)}
        for part in re.split(r"\n  zh: \{", SCRIPT.split("const at")[0])
    )
    english.discard(("en", ""))
    assert english == chinese and len(english) >= 10
    keys = {"".join(key) for key in english}
    assert {*re.findall(r'data-say="(\w+)"', MARKUP)} <= keys


def test_every_field_has_a_label_and_dark_has_every_colour():
    fields = {*re.findall(r'<input id="(\w+)"', MARKUP)}
    assert fields == {*re.findall(r'<label for="(\w+)"', MARKUP)}
    light, dark = (
        {*re.findall(r"(--\w+):", part)}
        for part in re.findall(r":root \{(?:\n  color-scheme[^\n]*\n)?([^}]*)\}", STYLE)
    )
    assert light == dark


@pytest.fixture
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs the extra serve-tests")
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        pytest.skip("needs a Chromium on the system")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser, service):
    with served(serve_app.create_app(service)) as url:
        page, said = browser.new_page(), []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(url)
        yield page
        assert not said


def ask(page, query):
    page.fill("#query", query)
    page.keyboard.press("Enter")
    page.wait_for_selector("#hits li, #error:not([hidden])")


@pytest.mark.filterwarnings("ignore")
def test_a_question_is_answered_by_the_keyboard_alone(page):
    assert page.evaluate("document.activeElement.id") == "query"
    ask(page, "red shoes")
    first = page.locator("#hits li").first
    assert "red shoes" in first.inner_text() and first.locator("mark").count() == 2
    assert "4 calls" in page.inner_text("#status")


@pytest.mark.filterwarnings("ignore")
def test_the_slider_sets_the_budget(page):
    page.focus("#calls")
    page.keyboard.press("Home")
    assert page.input_value("#calls") == "0" and page.inner_text("#budget") == "0"
    ask(page, "red shoes")
    assert "0 calls" in page.inner_text("#status")


@pytest.mark.filterwarnings("ignore")
def test_the_page_speaks_chinese(page):
    page.click("#language")
    ask(page, "红色的鞋")
    assert "打分" in page.inner_text("#status") and "红色的鞋" in page.inner_text("#hits")


@pytest.mark.filterwarnings("ignore")
def test_an_error_is_shown(page):
    page.click("summary")
    page.fill("#where", "drop table")
    page.fill("#query", "red")
    page.keyboard.press("Enter")
    page.wait_for_selector("#error:not([hidden])")
    assert "condition" in page.inner_text("#error")


@pytest.mark.filterwarnings("ignore")
def test_a_script_in_a_text_stays_text(page):
    ask(page, "blue shoes")
    assert "<script>" in page.inner_text("#hits") and page.title() == "shoestring"


@pytest.mark.filterwarnings("ignore")
def test_a_phone_needs_no_sideways_scrolling(page):
    page.set_viewport_size({"width": 360, "height": 640})
    ask(page, "red shoes")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
