"""MLflow's own pages after a suite: a real server, its UI in a real browser, and nothing of ours beside them."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from types import SimpleNamespace

import pytest

import mmkd
from mmkd.report import mlflow as track
from mmkd.report.mlflow import store as mlflow_store
from mmkd.report.mlflow import suites
from mmkd.store.records import Records

pytestmark = pytest.mark.browser
mlflow = pytest.importorskip("mlflow")

STARTED = 180.0  # seconds for the server
SEEN = 30_000  # milliseconds for what a page shows


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The URI of `mlflow server` on a store of its own; it is ended with all its processes."""
    folder = tmp_path_factory.mktemp("server")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder / 'store.db'}"]
    command += ["--artifacts-destination", str(folder / "artifacts")]
    env = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "OMP_NUM_THREADS": "1"}
    uri = f"http://127.0.0.1:{port}"
    with (folder / "log").open("w") as log:
        child = subprocess.Popen(command, env=env, stdout=log, stderr=log, start_new_session=True, cwd=folder)
    try:
        began = time.monotonic()
        while not alive(uri):
            said = (folder / "log").read_text()
            assert child.poll() is None, said
            assert time.monotonic() - began < STARTED, said
            time.sleep(0.3)
        yield uri
    finally:
        os.killpg(child.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(3)  # it waits for connections that browsers keep open
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def alive(uri):
    try:
        with urllib.request.urlopen(f"{uri}/health", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


@pytest.fixture(scope="module")
def suite(server, tiny, tmp_path_factory):
    """A suite of two methods under two seeds, sent to the server."""
    runs = tmp_path_factory.mktemp("runs")
    for method in ("student", "kd"):
        for seed in (0, 1):
            mmkd.run(method, student="sig", seed=seed, **tiny, runs=runs)
    records = list(Records(runs))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", server)
        assert track.publish(runs, records, suite="two methods") is None
        client = mlflow_store.connect(runs)
        experiment = client.get_experiment_by_name("mmkd/sines/classification").experiment_id
        found = {run.data.tags["mmkd.key"]: run.info.run_id for run in client.search_runs([experiment])}
        lines = track.where_to_look(runs, records, "two methods")
    parent = found.pop("suite/two methods")
    view = suites.comparison_id("two methods", suites.folder_id(runs))
    return SimpleNamespace(
        address=lines[0].removeprefix("MLflow: "),
        base=f"{server}/#/experiments/{experiment}",
        parent=parent,
        view=view,
        ids=found,
        records=records,
    )


@pytest.fixture
def page(chromium, suite):
    """A page of the UI without its assistant, which opens beside it at first. A script that fails fails the test."""
    context = chromium.new_context(viewport={"width": 1600, "height": 1100})
    context.set_default_timeout(SEEN)
    context.add_init_script(
        "if (window === top) for (const [name, value] of [['fab.autoOpenedOnFirstLoad_v1', 'true'],"
        " ['panelOpen_v1', 'false']]) localStorage.setItem(`mlflow.assistant.${name}`, value)"
    )
    broken = []
    opened = context.new_page()
    opened.on("pageerror", lambda error: broken.append(str(error)))
    yield opened
    context.close()
    assert broken == []


def named(page, text):
    """The first that shows this text."""
    found = page.get_by_text(text, exact=True).first
    found.wait_for()
    return found


def test_the_runs_are_listed_by_their_rows(page, suite):
    """The shared view that the suite's run leads to: a group a row, each with its seeds, sorted by score."""
    page.goto(suite.address)
    wanted = {"kd | sig (small)", "student | sig (small)", *(f"teacher {m} WRN16-1" for m in ("sig", "gaf", "pi"))}
    for row in wanted:
        page.get_by_text(f"Group: {row}").first.wait_for()
    for name in ("kd | sig+gaf+pi -> sig | seed 0", "kd | sig+gaf+pi -> sig | seed 1", "student | sig | seed 0"):
        page.get_by_text(name, exact=True).first.wait_for()
    assert page.get_by_text("Group: ").count() == len(wanted)
    for score in ("test/macro_f1", "test/accuracy"):
        page.get_by_text(score, exact=True).first.wait_for()
    assert page.get_by_text("mmkd.seed", exact=True).first.is_visible()
    assert page.get_by_text("share key").count() == 0, "the view is known"


def test_the_suites_run_shows_the_leaderboard_and_leads_to_the_charts(page, suite):
    page.goto(f"{suite.base}/runs/{suite.parent}")
    named(page, "suite two methods")
    page.get_by_text("leaderboard/macro_f1 kd sig small").first.wait_for()
    page.get_by_text("Show more").first.click()
    page.get_by_role("cell", name="teacher sig WRN16-1").first.wait_for()
    link = page.get_by_role("link", name="Charts of these runs, by row")
    page.goto(f"{page.url.split('#')[0]}{link.get_attribute('href')}")
    page.get_by_text("Comparison").first.wait_for()
    for title in ("test/macro_f1", "test/accuracy", "test/ece"):
        named(page, title)
    page.locator(".js-plotly-plot .bars .point").first.wait_for()
    plots = page.locator(".js-plotly-plot:has(.bars .point)")
    assert plots.count() == 3
    assert plots.first.locator(".bars .point").count() == 5, "a bar a row"
    page.get_by_text("kd | sig (small)").first.wait_for()


def test_the_chart_of_two_methods_opens(page, suite):
    """Two runs of two methods side by side, as the button "Compare" of the list opens them."""
    methods = {r.result["spec"].get("method"): suite.ids[r.key] for r in suite.records if r.spec.seed == 0}
    two = ",".join(f"%22{methods[name]}%22" for name in ("student", "kd"))
    experiment = suite.base.rsplit("/", 1)[1]
    page.goto(f"{suite.base.split('#')[0]}#/compare-runs?runs=[{two}]&experiments=[%22{experiment}%22]")
    page.get_by_text("Comparing 2 Runs").first.wait_for()
    page.locator(".js-plotly-plot .main-svg").first.wait_for()
    page.get_by_role("tab", name="Scatter Plot").click()
    chart = page.locator(".js-plotly-plot:visible")
    chart.locator(".xtick, .ytick").first.wait_for()
    assert chart.locator("canvas.gl-canvas, .scatterlayer .point").count() > 0, "drawn"
    for name in ("kd | sig+gaf+pi -> sig | seed 0", "student | sig | seed 0"):
        page.get_by_text(name).first.wait_for()
    page.get_by_text("mmkd.student").first.wait_for()


def test_the_report_opens_among_the_artifacts(page, suite):
    page.goto(f"{suite.base}/runs/{suite.parent}/artifacts")
    for name in ("figures", "leaderboard.csv", "tables.md"):
        named(page, name)
    named(page, "leaderboard.json").click()
    page.get_by_text("macro_f1_mean").first.wait_for()
    named(page, "report.html").click()
    frame = page.frame_locator("iframe")
    frame.locator("h1", has_text="Comparison on").wait_for()
    assert frame.locator("table[data-table]").count() == 1


def test_the_pictures_of_a_record_are_shown_as_images(page, suite):
    run = next(
        suite.ids[record.key] for record in suite.records if record.kind == "student" and record.unit.method == "kd"
    )
    page.goto(f"{suite.base}/runs/{run}/artifacts")
    for name in ("confusion.svg", "curves.svg", "views.svg"):
        named(page, name).click()
        page.locator(".image-outer-container img, img[src^='blob:'], img[src*='get-artifact']").first.wait_for()
        page.wait_for_function("[...document.images].some(image => image.complete && image.naturalWidth > 200)")
