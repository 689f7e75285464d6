"""The page as people use it, in real Chromium from the file system."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.boards.analysis import analyse
from bench.boards.answer import answer
from bench.boards.compare import as_data, versus
from bench.boards.gather import boards
from bench.boards.ranking import ranked
from bench.boards.spec import load_spec
from bench.report.render import of_boards
from tests.report.page.pages import (
    CHROMIUM,
    HOSTILE,
    SMALL,
    Tab,
    browser,
    hostile,
    store,
    tab,
    write,
)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as found:
        yield found


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("results")
    write(root / "page.html", store(root / "r"), "patches", "digits", "cifar10")
    return root


@pytest.fixture
def page(chromium: Any, results: Path) -> Iterator[Tab]:
    with tab(chromium, results / "page.html") as found:
        yield found


def violations(page: Tab) -> list[str]:
    """What axe finds, in words."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page.page).response["violations"]
    return [f"{each['id']}: {node['html'][:200]}" for each in found for node in each["nodes"]]


VIEWS: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "light": ({}, {}),
    "dark": ({"color_scheme": "dark"}, {"row": "adp@natural"}),
    "card": ({}, {"row": "adp@natural"}),
    "compare": ({}, {"first": "adp@natural", "second": "jpeg@natural"}),
    "phone": ({"viewport": {"width": 400, "height": 800}}, {"row": "adp@natural"}),
    "published": ({"color_scheme": "dark"}, {"data": "cifar10"}),
}


@pytest.mark.parametrize("name", VIEWS)
def test_axe_finds_nothing(chromium: Any, results: Path, name: str) -> None:
    options, state = VIEWS[name]
    with tab(chromium, results / "page.html", **options) as page:
        page.go(**state)
        page.page.locator("details").evaluate_all("all => all.forEach(one => one.open = true)")
        assert violations(page) == []
        assert page.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_columns_sort_both_ways_and_blanks_come_last(page: Tab, results: Path) -> None:
    board, *_ = boards(store_of(results), "patches")
    assert page.names() == [row.label for row in ranked(board, analyse(board).worst)]
    clean = {row.label: row.entries["clean"].figure.value for row in board.rows}
    header = page.shown(".main th").filter(has_text="clean")
    header.get_by_role("button").click()
    assert header.get_attribute("aria-sort") == "descending"
    assert page.names() == sorted(clean, key=lambda label: -clean[label])
    header.get_by_role("button").press("Enter")
    assert header.get_attribute("aria-sort") == "ascending"
    assert page.names() == sorted(clean, key=lambda label: clean[label])
    assert page.shown("[aria-sort]").count() == 1
    square = page.shown(".matrix th").filter(has_text="square").get_by_role("button")
    for _ in range(2):
        square.click()
        last = page.shown(".matrix tbody tr").last
        assert last.get_attribute("data-row") == "none@natural"


def test_a_board_opens_with_its_answer(page: Tab, results: Path) -> None:
    board, *_ = boards(store_of(results), "patches")
    said = page.shown(".answer p").all_inner_texts()
    assert tuple(said) == answer(analyse(board))
    assert said


def test_filters_hide_rows_everywhere_and_say_how_many_are_left(page: Tab) -> None:
    page.shown('[data-filter="kind"]').select_option("control")
    assert page.names() == ["jpeg@natural", "wiener@natural"]
    assert page.page.get_by_role("status").text_content() == "2 of 4 rows"
    page.shown('[data-filter="text"]').fill("WIENER")
    assert page.names() == ["wiener@natural"]
    assert page.shown(".matrix tbody tr:not([hidden])").count() == 1
    assert page.shown(".point.faded").count() == 3
    page.shown('[data-filter="kind"]').select_option("bare classifier")
    assert page.names() == []
    page.shown('[data-filter="text"]').fill("")
    assert page.names() == ["none@natural"]
    assert page.shown('[data-filter="classifier"] option').count() == 2


def test_papers_are_links_beside_the_names_and_words_stand_in_the_card(page: Tab) -> None:
    link = page.shown('.main tr[data-row="adp@natural"] a')
    assert link.inner_text() == "Yoon et al. 2021"
    assert link.get_attribute("href") == "https://arxiv.org/abs/2106.06041"
    assert page.shown('.main tr[data-row="jpeg@natural"] .paper').count() == 0
    page.shown('[data-filter="text"]').fill("yoon")
    assert page.names() == ["adp@natural"]
    assert page.shown(".pair:not(.faded)").count() == 1
    page.go(row="adp@natural")
    card = page.shown("tr.card")
    card.locator("details").evaluate_all("all => all.forEach(one => one.open = true)")
    text = card.inner_text()
    for words in (
        "Steps along a score. (Yoon et al. 2021)",
        "Trained on clean images. (Zagoruyko & Komodakis 2016)",
        "<i>Past</i> the purifier. (Athalye et al. 2018)",
    ):
        assert words in text, words
    assert card.locator("a").get_attribute("href") == link.get_attribute("href")


def test_an_alarm_stands_beside_the_number_that_it_doubts(page: Tab) -> None:
    page.go(data="patches", board=SMALL)
    row = page.shown('.main tr[data-row="adp@natural"]')
    assert row.locator("td.worst .alarm").count() == 1
    assert page.shown('.matrix tr[data-row="adp@natural"] td.alarmed .alarm').count() >= 1
    assert page.shown(".main thead th").all_inner_texts()[-1].startswith("calls")


def test_one_search_finds_rows_papers_and_published_lines_of_all_data_sets(page: Tab) -> None:
    field = page.page.get_by_role("searchbox", name="Search all data sets")
    field.fill("HWANG")
    items = page.page.locator("#hits li").all_inner_texts()
    assert items[0].startswith("aid@madry digits, quick, 32 images: ")
    assert "in the worst case" in items[0]
    field.fill("adp@")
    found = page.page.locator("#hits li").all_inner_texts()
    assert [text.split(",")[0] for text in found[:2]] == ["adp@natural patches"] * 2
    assert any(re.match(r"cifar10: \d+ published lines", text) for text in found)
    assert page.page.get_by_role("status").text_content() == f"{len(found)} found"
    page.follow(page.page.locator("#hits a").nth(1))
    assert page.shown("tr.card").get_attribute("data-of") == "adp@natural"
    assert (
        page.page.locator('.boards a[aria-current="true"]:visible')
        .inner_text()
        .startswith("quick, 32")
    )
    assert page.page.locator("#hits:visible").count() == 0
    field.fill("bpda-eot")
    page.follow(page.page.locator("#hits a", has_text="cifar10").first)
    claims = page.page.locator(".dataset.shown .claims")
    assert claims.locator("input").input_value() == "bpda-eot"
    assert "of" in claims.locator(".count").inner_text()
    field.fill("nothing of that name")
    assert page.page.locator("#hits").inner_text().strip() == "0 found"
    field.press("Escape")
    assert page.page.locator("#hits:visible").count() == 0


def test_on_a_phone_the_first_screen_has_the_answer_and_the_first_row(
    chromium: Any, results: Path
) -> None:
    with tab(chromium, results / "page.html", viewport={"width": 390, "height": 844}) as page:
        for selector in (".answer", ".main tbody tr"):
            box = page.shown(selector).first.bounding_box()
            assert box["y"] + box["height"] <= 844
        # The first column stays where it is while the others are looked at.
        frame = page.shown(".main").locator("xpath=..")
        before = page.shown(".main tbody th").first.bounding_box()["x"]
        frame.evaluate("frame => { frame.scrollLeft = 200 }")
        assert frame.evaluate("frame => frame.scrollLeft") > 0
        assert page.shown(".main tbody th").first.bounding_box()["x"] == before
        page.shown(".filters summary").click()
        page.shown('[data-filter="text"]').fill("jpeg")
        assert page.names() == ["jpeg@natural"]


def test_a_row_opens_to_its_card_by_keyboard_and_closes_again(page: Tab) -> None:
    name = page.shown(".main").get_by_role("button", name="adp@natural")
    assert name.get_attribute("aria-expanded") == "false"
    name.focus()
    page.page.keyboard.press("Enter")
    assert name.get_attribute("aria-expanded") == "true"
    card = page.shown(f"#{name.get_attribute('aria-controls')}")
    text = card.inner_text()
    for words in (
        "random inference",
        "bench run --defense adp@natural --attacks clean,bpda,square,corruption",
        "torch 2.9.0",
        "natural aaaaaaaaaaaa",
        "bpda=1",
        "worst of K",
        "minus jpeg@natural",
        "--images 32 --results check",
        "expected between",
    ):
        assert words in text, words
    card.get_by_role("button", name="Close").click()
    assert card.count() == 0
    assert name.evaluate("button => button === document.activeElement")


def test_a_name_in_the_matrix_leads_to_the_card(page: Tab) -> None:
    page.shown(".matrix").get_by_role("button", name="wiener@natural").click()
    assert page.shown("tr.card").get_attribute("data-of") == "wiener@natural"
    name = page.shown(".main").get_by_role("button", name="wiener@natural")
    assert name.evaluate("button => button === document.activeElement")


def test_blanks_say_why(page: Tab) -> None:
    page.go(row="none@natural")
    assert "square: made up for the test" in page.shown("tr.card").inner_text()
    blank = page.shown('.matrix tr[data-row="none@natural"] td[title]')
    assert blank.get_attribute("title") == "made up for the test"


def test_two_rows_are_compared_as_the_command_compares_them(page: Tab, results: Path) -> None:
    found = boards(store_of(results), "patches")
    page.shown('[data-pair="first"]').select_option("jpeg@natural")
    page.shown('[data-pair="second"]').select_option("adp@natural")
    for names in (("jpeg@natural", "adp@natural"), ("adp@natural", "jpeg@natural")):
        page.go(first=names[0], second=names[1])
        section = next(s for s in as_data(versus(found, names)) if s["preset"] == "quick")
        lines = {line["attack"]: line for line in section["columns"]}
        rows = page.shown("[data-result] tbody tr")
        assert rows.count() == len(lines)
        for row in rows.all():
            attack, *cells = row.locator("th, td").all_inner_texts()
            line = lines[attack]
            for text, kind in zip(cells[:3], ("first", "second", "difference"), strict=True):
                shown = [float(number) for number in re.findall(r"[-+]?\d+\.\d", text)]
                assert shown == pytest.approx([line[kind][k] for k in ("value", "low", "high")])
            assert [int(text) for text in cells[5:9]] == [
                line[key] for key in ("first_better", "second_better", "n", "seeds")
            ]
            assert cells[3] == ("<0.001" if line["p"] < 0.001 else f"{line['p']:.3f}")
            assert cells[10] == line["test"]


def test_what_is_not_compared_says_why(page: Tab, results: Path) -> None:
    page.go(first="adp@natural", second="none@natural")
    page.shown("[data-result] summary").click()
    (section, *_) = versus(boards(store_of(results), "patches"), ("adp@natural", "none@natural"))
    items = page.shown("[data-result] li").all_inner_texts()
    assert sorted(items) == sorted(f"{column}: {why}" for column, why in section.barred.items())


def test_the_download_is_the_boards_part_of_the_csv(page: Tab, results: Path) -> None:
    parts = []
    for link in page.page.locator(".dataset.shown .boards a").all():
        page.follow(link)
        with page.page.expect_download() as waiting:
            page.shown("[data-download]").click()
        assert re.fullmatch(r"patches-quick-\d+\.csv", waiting.value.suggested_filename)
        parts.append(Path(waiting.value.path()).read_text("utf-8"))
    head = parts[0].partition("\n")[0] + "\n"
    assert len(parts) == 2
    whole = head + "".join(part.removeprefix(head) for part in parts)
    assert whole == of_boards(
        boards(store_of(results), "patches"), load_spec("patches"), "patches"
    ).text(".csv")


def test_published_figures_filter_and_come_as_the_csv(page: Tab) -> None:
    page.go(data="cifar10")
    claims = page.page.locator(".dataset.shown .claims")
    lines = claims.locator(".published tbody tr")
    whole = lines.count()
    claims.locator("select").select_option("Published: within linf:8/255")
    claims.locator("input").fill("BPDA-eot")
    shown = claims.locator(".published tbody tr:visible").all_inner_texts()
    assert shown
    assert all("bpda-eot" in text for text in shown)
    assert claims.locator(".count").inner_text() == f"{len(shown)} of {whole} lines"
    with page.page.expect_download() as waiting:
        claims.locator("[data-download]").click()
    spec = load_spec("cifar10")
    assert Path(waiting.value.path()).read_text("utf-8") == of_boards([], spec, "cifar10").text(
        ".csv"
    )


def test_data_sets_and_boards_are_chosen_by_links(page: Tab) -> None:
    page.follow(page.page.get_by_role("link", name="digits"))
    assert page.page.locator(".dataset.shown h2").inner_text().startswith("digits")
    assert page.names() == ["none@madry", "aid@madry"] or page.names() == [
        "aid@madry",
        "none@madry",
    ]
    page.follow(page.page.get_by_role("link", name="patches"))
    page.follow(page.page.get_by_role("link", name="32 images"))
    assert sorted(page.names()) == ["adp@natural", "none@natural"]
    assert page.page.locator('.dataset.shown [aria-current="true"]').count() == 1
    page.back()
    assert len(page.names()) == 4


def test_an_address_links_to_a_card_and_a_comparison(page: Tab) -> None:
    page.go(
        data="patches", board=SMALL, row="none@natural", first="adp@natural", second="none@natural"
    )
    assert page.shown("tr.card").count() == 1
    assert "masked gradients, not robustness" in page.shown("tr.card .alarm").inner_text()
    assert "adp@natural minus none@natural" in page.shown(".verdict").inner_text()
    page.go(data="nowhere", board="none", row="<b>", first="x")
    assert len(page.names()) == 4
    assert page.shown("tr.card").count() == 0


def test_the_theme_follows_the_button(page: Tab) -> None:
    paper = "getComputedStyle(document.body).backgroundColor"
    light = page.page.evaluate(paper)
    button = page.page.get_by_role("button", name="Dark")
    button.click()
    assert button.get_attribute("aria-pressed") == "true"
    assert page.page.evaluate(paper) != light
    page.go()
    assert button.get_attribute("aria-pressed") == "true"


def test_without_scripts_every_board_is_there_to_read(chromium: Any, results: Path) -> None:
    with tab(chromium, results / "page.html", java_script_enabled=False) as page:
        assert page.page.locator(".board:visible").count() == 3
        assert page.page.locator(".needs-script:visible").count() == 0
        assert page.page.locator("noscript").count() == 1


def test_labels_of_the_plot_do_not_touch(page: Tab) -> None:
    boxes = page.shown(".point text").evaluate_all(
        "all => all.map(one => { const b = one.getBBox(); return [b.x, b.y, b.width, b.height] })"
    )
    assert len(boxes) == 4
    for place, (x, y, width, _) in enumerate(boxes):
        for u, v, other, _ in boxes[:place]:
            assert x + width <= u or u + other <= x or abs(y - v) >= 13


def test_names_from_outside_run_nothing_and_are_shown_as_they_are(
    chromium: Any, tmp_path: Path
) -> None:
    path = write(tmp_path / "page.html", hostile(tmp_path / "r"), "patches")
    with tab(chromium, path) as page:
        for name in HOSTILE:
            page.go(row=name, first=name, second=HOSTILE[0])
            assert page.shown("tr.card").count() == 1
        assert sorted(page.names()) == sorted(HOSTILE)
        for part in (".main", ".matrix"):
            assert sorted(page.shown(f"{part} .name").all_text_contents()) == sorted(HOSTILE)
        page.page.locator("details").evaluate_all("all => all.forEach(one => one.open = true)")
        assert HOSTILE[1] in page.shown("pre").last.inner_text()
        page.page.keyboard.press("Tab")
        assert page.page.evaluate("window.hacked") is None
        assert page.page.locator("script").count() == 3
        assert page.page.locator("img, svg[onload], [onerror], a[href^=javascript]").count() == 0


def test_the_policy_stops_what_escaping_would_miss(chromium: Any, results: Path) -> None:
    text = (results / "page.html").read_text("utf-8")
    path = results / "broken.html"
    path.write_text(text.replace("<main", "<script>window.hacked=1</script><main", 1), "utf-8")
    with tab(chromium, path) as page:
        assert page.page.evaluate("window.hacked") is None
        assert any("Content Security Policy" in each for each in page.trouble)
        page.trouble.clear()


def store_of(results: Path) -> Any:
    from bench.results.archive import open_results

    return open_results(results / "r")
