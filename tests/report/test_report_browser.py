"""The pages in a real browser."""

import json
import math
import time
import urllib.parse

import pytest
import report_runs
from test_report_server import serving

from mini.job import Outcome, State
from mini.report import run_page
from mini.runs import records
from mini.runs.history import History
from mini.runs.live import write_live


def address(folder, fragment=""):
    return run_page.write([folder]).as_uri() + fragment


def cells(page, column):
    """What the table shows in a column, from the top."""
    heads = page.locator("thead th").all_inner_texts()
    place = [head.replace("↑", "").replace("↓", "").strip() for head in heads].index(column)
    return page.locator(f".scroll tbody tr[aria-rowindex] > td:nth-child({place + 1})").all_inner_texts()


def count(page):
    return page.locator(".toolbar .count").inner_text()


def sort_by(page, column):
    page.locator("thead button", has_text=column).first.click()


def settle(page):
    """Until what was asked for is drawn."""
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


@pytest.fixture
def sweep(tmp_path):
    return report_runs.make(tmp_path / "sweep", report_runs.grid(18), steps=20, failed={4: "no room", 5: "no room"})


def test_it_opens_from_a_file_with_the_network_off(sweep, open_page):
    page = open_page(address(sweep))
    assert page.title() == "sweep"
    assert count(page) == "18 jobs"
    for name in (
        "Failures",
        "Parallel coordinates",
        "Learning curves",
        "Two values",
        "Best so far",
        "Jobs",
        "Time line",
    ):
        assert page.get_by_role("region", name=name, exact=True).is_visible(), name
    assert page.locator(".u-over").count() == 2
    assert page.locator(".best strong").inner_text() == "2"


def test_sorting_puts_what_is_not_there_last(sweep, open_page):
    page = open_page(address(sweep))
    sort_by(page, "loss")
    settle(page)
    shown = cells(page, "loss")
    assert [float(text) for text in shown if text] == sorted(float(text) for text in shown if text)
    assert shown[-2:] == ["", ""]
    sort_by(page, "loss")
    settle(page)
    down = cells(page, "loss")
    assert [float(text) for text in down if text] == sorted((float(text) for text in down if text), reverse=True)
    assert down[-2:] == ["", ""]
    assert page.locator("th[aria-sort=descending]").count() == 1


def test_finding_by_words_and_by_values(sweep, open_page):
    page = open_page(address(sweep))
    find = page.get_by_role("searchbox")
    for text, expected in (
        ("model=large", "9 of 18 jobs"),
        ("model=large lr>=1e-3", "6 of 18 jobs"),
        ("failed", "2 of 18 jobs"),
        ("#7", "1 of 18 jobs"),
        ("nosuch", "0 of 18 jobs"),
        ("seed!=0", "12 of 18 jobs"),
    ):
        find.fill(text)
        settle(page)
        assert count(page) == expected, text
    page.get_by_role("button", name="Show all").click()
    settle(page)
    assert count(page) == "18 jobs"


def test_brushing_an_axis_filters_and_the_address_keeps_it(sweep, open_page):
    page = open_page(address(sweep))
    hit = page.locator('[data-axis="overrides.model"]')
    box = hit.bounding_box()
    x = box["x"] + box["width"] / 2
    page.mouse.move(x, box["y"] + 2)
    page.mouse.down()
    page.mouse.move(x, box["y"] + 60, steps=4)
    page.mouse.up()
    settle(page)
    assert count(page) == "9 of 18 jobs"
    assert set(cells(page, "model")) == {"small"}
    again = open_page(page.url)
    assert count(again) == "9 of 18 jobs"
    page.mouse.click(x, box["y"] + 100)
    settle(page)
    assert count(page) == "18 jobs"


def test_what_is_chosen_is_in_the_address(sweep, open_page):
    page = open_page(address(sweep))
    page.get_by_label("Metric").select_option("loss")
    sort_by(page, "loss")
    page.get_by_label("Choose job #3", exact=True).check()
    settle(page)
    assert "lower is better" in page.locator(".toolbar").inner_text()
    again = open_page(page.url)
    assert again.get_by_label("Metric").input_value() == "loss"
    assert again.get_by_label("Choose job #3", exact=True).is_checked()
    assert again.locator("th[aria-sort=ascending]").inner_text().startswith("loss")
    assert again.locator(".curve-legend li").count() == 1


@pytest.mark.parametrize(
    "fragment", ["#brush={", "#brush=[1]&smooth=x&chosen=7&show=[1]&metric=nosuch&sort=-no&group=[[]]&axes=3"]
)
def test_an_address_that_somebody_changed_does_no_harm(sweep, open_page, fragment):
    assert count(open_page(address(sweep, fragment))) == "18 jobs"


def test_columns_are_chosen_and_hidden(sweep, open_page):
    page = open_page(address(sweep))
    jobs = page.get_by_role("region", name="Jobs", exact=True)
    jobs.locator("summary", has_text="Columns").click()
    jobs.get_by_label("seed", exact=True).uncheck()
    settle(page)
    assert "seed" not in page.locator("thead").first.inner_text()
    jobs.get_by_label("host", exact=True).check()
    settle(page)
    assert cells(page, "host")[0] == "here"


def test_failures_lead_to_their_jobs(sweep, open_page):
    page = open_page(address(sweep))
    failures = page.get_by_role("region", name="Failures", exact=True)
    failures.locator("summary").click()
    assert "in train" in failures.locator("pre").inner_text()
    assert failures.locator("a").first.get_attribute("href") == "./4/log.txt"
    failures.get_by_role("button", name="Only these jobs").click()
    settle(page)
    assert count(page) == "2 of 18 jobs"


def test_curves_have_a_line_for_each_group(sweep, open_page):
    page = open_page(address(sweep))
    curves = page.get_by_role("region", name="Learning curves", exact=True)
    assert curves.locator(".curve-legend li").count() == 6
    assert "n=3" in curves.locator(".curve-legend").inner_text()
    curves.locator("summary", has_text="Groups").click()
    curves.get_by_label("model", exact=True).uncheck()
    settle(page)
    assert curves.locator(".curve-legend li").count() == 3
    curves.get_by_label("Each job for itself").check()
    settle(page)
    assert "the best 8 of 18 jobs" in curves.inner_text()


def test_hostile_text_stays_text(tmp_path, open_page):
    hostile = report_runs.HOSTILE
    rows = [{f"overrides.{text}": f"{text}{i}" for text in hostile} for i in range(8)]
    folder = report_runs.make(
        tmp_path / "run",
        rows,
        steps=4,
        metrics=hostile,
        failed={1: hostile[0], 2: hostile[1]},
        manifest={"command": list(hostile), "task": hostile[0], "overrides": list(hostile)},
        names=[f"javascript:window.broken=7;{i}" for i in range(8)],
    )
    page = open_page(address(folder))
    for entry in page.locator("details").all():
        entry.evaluate("(one) => { one.open = true; }")
    page.mouse.move(400, 500)
    settle(page)
    assert page.evaluate("window.broken") is None
    assert page.locator("img, svg, iframe").count() == 0
    assert hostile[1] in page.inner_text("body")
    links = page.evaluate("[...document.querySelectorAll('a')].map((one) => new URL(one.href).protocol)")
    assert set(links) == {"file:"}
    for text in hostile:
        view = {"find": text, "curve": text, "sort": text, "brush": json.dumps({text: [text]})}
        page.goto(f"{page.url.split('#')[0]}#{urllib.parse.urlencode(view)}")
        settle(page)
    assert page.evaluate("window.broken") is None


def test_the_policy_stops_what_would_still_get_in(sweep, open_page, browser):
    context = browser.new_context()
    page = context.new_page()
    page.goto(address(sweep))
    page.wait_for_selector("html[data-ready]")
    page.evaluate(
        "() => { const s = document.createElement('script'); s.textContent = 'window.broken = 1';"
        " document.body.append(s);"
        " document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.broken = 2\">'); }"
    )
    page.wait_for_timeout(300)
    assert page.evaluate("window.broken") is None
    with pytest.raises(Exception, match="fetch"):
        page.evaluate("fetch('http://127.0.0.1:1/')")
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everybody_can_read_it(sweep, open_page, scheme):
    from axe_playwright_python.sync_playwright import Axe

    page = open_page(address(sweep), scheme=scheme)
    for entry in page.locator("details:not(.menu)").all():
        entry.evaluate("(one) => { one.open = true; }")
    settle(page)
    found = Axe().run(page).response["violations"]
    assert [(one["id"], [node["html"] for node in one["nodes"]][:3]) for one in found] == []


@pytest.mark.parametrize("width", [390, 768, 1440, 2560])
def test_it_fits_every_width(sweep, open_page, width):
    page = open_page(address(sweep), width=width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator(".toolbar").is_visible()


def test_it_is_used_from_the_keyboard(sweep, open_page):
    page = open_page(address(sweep))
    page.get_by_role("button", name="loss", exact=True).focus()
    page.keyboard.press("Enter")
    settle(page)
    assert page.locator("th[aria-sort=ascending]").count() == 1
    assert page.evaluate("document.activeElement.textContent").startswith("loss")
    page.get_by_label("Choose job #3", exact=True).focus()
    page.keyboard.press("Space")
    settle(page)
    assert page.get_by_label("Choose job #3", exact=True).is_checked()
    assert page.evaluate("document.activeElement.dataset.row") == "3"


@pytest.mark.slow
def test_ten_thousand_jobs(tmp_path, open_page):
    rows = [
        {"overrides.lr": 10.0 ** -(i % 5), "overrides.width": i % 97, "overrides.seed": i % 3} for i in range(10_000)
    ]
    folder = report_runs.make(tmp_path / "run", rows, metrics=("loss",), unfinished=range(10_000))
    for i in range(10_000):  # as a volume keeps them: many to a file
        outcome = Outcome(
            i,
            State.DONE,
            started=report_runs.BEGAN,
            ended=report_runs.BEGAN + i % 9,
            folder=str(folder.path / str(i)),
            key="k",
        )
        rows[i] = records.encode_record(outcome, rows[i] | {"metrics.loss": math.sin(i)})
    (folder.path / "records").mkdir()
    (folder.path / "records/all.jsonl").write_bytes(b"".join(rows))
    page = open_page(address(folder))
    assert count(page) == "10,000 jobs"
    assert page.locator(".scroll tbody tr").count() < 100
    sort_by(page, "loss")
    settle(page)
    assert float(cells(page, "loss")[0]) == pytest.approx(-1, abs=1e-3)
    table = page.get_by_role("region", name="Table of jobs")
    table.evaluate("(one) => { one.scrollTop = one.scrollHeight; }")
    page.locator('.scroll tbody tr[aria-rowindex="10001"]').wait_for()
    page.get_by_role("searchbox").fill("lr=1 width<10")
    settle(page)
    assert count(page) == "207 of 10,000 jobs"


def test_it_follows_a_run(tmp_path, open_page):
    folder = report_runs.make(tmp_path / "outputs/live", report_runs.grid(4), steps=3, unfinished=(2, 3))
    folder.add_jobs([])
    with serving(tmp_path / "outputs") as server, folder.driving():
        page = open_page(server.address, offline=False)
        page.get_by_role("link", name="live").click()
        page.wait_for_selector("html[data-ready]")
        assert page.locator(".head .state.big").inner_text() == "running"
        assert sorted(cells(page, "state")) == ["done", "done", "queued", "queued"]
        page.get_by_label("Choose job #0", exact=True).check()
        write_live(folder.path / "2", {"index": 2, "started": report_runs.BEGAN, "step": 5, "total": 10})
        page.get_by_role("cell", name="50 %").wait_for()
        history = History(folder.path / "2")
        history.add(1, {"loss": 3.0})
        history.close()
        outcome = Outcome(
            3, State.DONE, started=report_runs.BEGAN, ended=report_runs.BEGAN + 1, folder=str(folder.path / "3")
        )
        records.write_record(outcome, report_runs.grid(4)[3] | {"metrics.loss": 0.125})
        page.get_by_role("cell", name="0.125").wait_for()
        assert page.get_by_label("Choose job #0", exact=True).is_checked()
        assert page.get_by_role("button", name="Cancel").is_visible()


def test_runs_are_found_and_compared(tmp_path, open_page):
    from axe_playwright_python.sync_playwright import Axe

    for i, name in enumerate(("first", "second", "third")):
        report_runs.make(
            tmp_path / "outputs" / name,
            [{**row, "config.epochs": 20 + i} for row in report_runs.grid(6)],
            steps=5,
            manifest={"python": f"3.1{i}", "command": ["train.py", f"note={name}"]},
        )
    with serving(tmp_path / "outputs") as server:
        page = open_page(server.address, offline=False)
        assert Axe().run(page).response["violations"] == []
        page.get_by_role("searchbox").fill("note=second")
        assert page.locator(".count").inner_text() == "1 run"
        page.get_by_role("searchbox").fill("")
        page.get_by_label("Choose first").check()
        page.get_by_label("Choose third").check()
        page.get_by_role("button", name="Compare 2").click()
        page.wait_for_selector("html[data-ready] .runs")
        assert count(page) == "12 jobs"
        differs = page.get_by_role("region", name="What differs", exact=True).inner_text()
        assert "3.10" in differs
        assert "3.12" in differs
        assert "config.epochs" in differs
        assert "first" in page.locator(".curve-legend").inner_text()


def test_cancel_asks_and_says_what_came_of_it(tmp_path, open_page):
    from mini import LocalApparatus

    with LocalApparatus(workers=1) as apparatus:
        apparatus.spawn(time.sleep, [600], name="sleeping")
    with serving(tmp_path / "outputs") as server:
        page = open_page(f"{server.address}run?run=sleeping", offline=False)
        page.on("dialog", lambda dialog: dialog.accept())
        page.get_by_role("button", name="Cancel").click()
        page.wait_for_selector(".head .state.big.cancelled, .head .state.big.failed")
        page.wait_for_selector("text=1 cancelled")
