"""The site of the documents: its navigation, its generated pages, and all of it built."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from docs.maker import assemble, cards, doctests, methods, on_record, pages, reference
from mmkd import METHODS

ROOT = Path(__file__).parents[1]


def test_every_page_is_in_the_navigation_once():
    listed = [page for _, named in assemble.navigation() for page in named]
    assert sorted(listed) == sorted(set(assemble.all_pages()))
    assert {"index.md", "quick-start.md", "methods/kd.md", "datasets/hapt6.md", "api.md"} <= set(listed)


def test_a_page_that_the_navigation_leaves_out_is_an_error(monkeypatch):
    monkeypatch.setattr(assemble.pages, "repository_pages", lambda: {"docs/other.md": "other.md"})
    with pytest.raises(ValueError, match="leaves out other.md"):
        assemble.navigation()


def test_generated_pages_have_their_parts():
    made = assemble.generated()
    assert list(made) == assemble.generated_names()
    for page, text in made.items():
        assert text.startswith("# "), page
        assert len(text.split()) > 40, page
    assert "| `--label-smoothing`<br>`0.0` |" in assemble.generated_list("options")
    kd = made["methods/kd.md"]
    assert "arxiv.org/abs/1503.02531" in kd
    assert "| `--temperature`<br>`4.0` | temperature T of teacher and student (float)" in kd
    assert "[controls](../measured/controls.md)" in kd


def test_scores_on_record_are_those_of_the_files():
    rows = {(s.page, s.group, s.row): s for s in on_record.scores()}
    group = "hapt6 at 25 Hz with labels of 5 subjects, student sig (micro)"
    alone = rows["measured/controls.md", group, "student"]
    assert (alone.runs, round(alone.mean, 4)) == (3, 0.8943)
    assert all(s.change == pytest.approx(0) for s in rows.values() if s.row == "student" and s.change is not None)
    best = [s for s in on_record.scores() if s.page == "measured/frequency.md" and on_record.rank(s)[0] == 1]
    assert best
    assert all(s.mean <= b.mean for b in best for s in on_record.scores() if (s.page, s.group) == (b.page, b.group))
    assert on_record.costs()["student"] == 1
    assert on_record.costs()["fam"] == 3.56


def test_a_table_of_the_benchmark_is_read_as_it_is_written(tmp_path):
    head = "protocol,regime,dataset,student,kind,method,row,seed,subject,metric,value\n"
    lines = [("student", "student", 0, "", 0.5), ("student", "student", 1, "", 0.7), ("method", "kd", 0, "", 0.6)]
    lines += [("method", "kd", 0, "ann", 0.1), ("peer", "forest", 0, "", 0.9)]
    text = [f"v1-ab,A,hapt6,sig,{kind},{row},{row},{seed},{who},macro_f1,{x}\n" for kind, row, seed, who, x in lines]
    (tmp_path / "A.csv").write_text(head + "".join(text), encoding="utf-8")
    alone, kd = on_record._of_benchmark(tmp_path / "A.csv")
    assert (alone.group, alone.runs, alone.mean) == ("v1, regime A, hapt6, sig", 2, pytest.approx(0.6))
    assert (kd.row, kd.kind, kd.runs, kd.change) == ("kd", "student", 1, pytest.approx(10))


def test_every_method_says_in_two_sentences_when_one_would_use_it():
    wrong = []
    for name in METHODS:
        method = METHODS.get(name)
        use = methods.use_of(method)
        if method.status != "control" and (len(re.findall(r"[.](?= [A-Z]|$)", use)) != 2 or len(use) < 80):
            wrong.append(name)
        assert use in methods.page(name)
    assert wrong == []


def test_links_of_the_repository_become_links_of_the_site():
    text = "See [a](../CONTRIBUTING.md#add-a-view), [b](../mmkd/api.py), [c](views.md), [d](https://a.org).\n- item"
    made, files = pages.for_site(text, "docs/own-data.md", "own-data.md")
    assert made == "See [a](contributing.md#add-a-view), b, [c](views.md), [d](https://a.org).\n\n- item"
    assert files == set()
    made, files = pages.for_site("![x](docs/images/overview.svg)", "README.md", "index.md")
    assert (made, files) == ("![x](images/overview.svg)", {"docs/images/overview.svg"})
    made, files = pages.for_site("![x](../experiments/v1/results/A-change.svg)", "docs/measured.md", "measured.md")
    assert (made, files) == ("![x](v1/results/A-change.svg)", {"experiments/v1/results/A-change.svg"})
    with pytest.raises(ValueError, match="a picture has no place on the site: x"):
        pages.for_site("![x](../experiments/v1/results/A.csv)", "docs/measured.md", "measured.md")
    made, _ = pages.for_site("[k](hapt6-quick.md)", "experiments/results/controls.md", "measured/controls.md")
    assert made == "[k](hapt6-quick.md)"
    made, files = pages.for_site("[n](notebooks/student_to_c.py#x)", "docs/faq.md", "faq.md")
    assert (made, files) == ("[n](notebooks/student-to-c.md#x)", set())


def test_every_public_name_is_in_the_reference():
    import mmkd

    page = reference.page()
    assert [name for name in mmkd.__all__ if not re.search(rf"^::: mmkd\.[\w.]+\.{name}$", page, re.M)] == []


def test_examples_of_docstrings_become_code():
    assert doctests.fenced("An example.\n\n>>> f()  # doctest: +SKIP\n3\n\nMore.\n") == (
        "An example.\n\n```python\n>>> f()\n3\n```\n\nMore.\n"
    )


def test_every_list_of_a_page_is_made():
    marks = {
        m for page in (ROOT / "docs").glob("*.md") for m in assemble.MARK.findall(page.read_text(encoding="utf-8"))
    }
    assert {"methods", "datasets", "fusions", "dense", "backbones"} <= marks
    for what in marks - {"backbones"}:
        assert assemble.generated_list(what).count("\n| ") > 5
    assert methods.page_of("base+sp") == "methods/base-sp.md"
    assert set(METHODS) == {re.search(r"^# (.*)$", text, re.M)[1] for text in methods.pages().values()}
    assert "[hapt6](datasets/hapt6.md)" in cards.overview()


@pytest.mark.slow
def test_the_site_is_built_without_a_warning_and_no_page_is_empty(tmp_path):
    pytest.importorskip("zensical", reason="zensical is not installed: make docs")
    command = [sys.executable, "-m", "docs.maker", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    made = tmp_path / "site" / "site"
    for page in assemble.all_pages():
        text = (made / page.replace(".md", ".html")).read_text(encoding="utf-8")
        (body,) = re.findall(r"<article.*?</article>", text, re.S)
        assert len(re.sub(r"<[^>]+>", " ", body).split()) > 30, page
        assert "<!-- generated" not in body, page
    for path in made.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"""<(?:script|link|img)[^>]+(?:src|href)=["'](?:https?:)?//(?!example)""", text), path
    assert "Run one unit, unless it is on record" in (made / "api.html").read_text(encoding="utf-8")
