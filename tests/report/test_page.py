"""The page of a run: escaped, complete, and replaced in one step."""

from __future__ import annotations

from pathlib import Path

from dmrifw.report import Fact, Figure, Page, Setting, write_page

PAGE = Page(
    title="A <b>bold</b> & title",
    summary=["one", "two"],
    facts=[Fact("97 %", "of something")],
    figures=[
        Figure("Curves", "a < b", svg="<svg></svg>"),
        Figure("Scenes", "side by side", png={"truth": b"\x89PNG", "found": b"\x89PNG"}),
    ],
    metrics={"loss_final": "0.1"},
    seconds={"work": 3.0, "rest": 1.0},
    settings=[Setting("a.b", '"x"', True), Setting("a.c", "1", False)],
    config="[a]\nb = '<script>'",
    versions={"dmrifw": "0.1"},
    notes=["no pictures"],
)


def test_everything_is_on_it_and_text_is_escaped(tmp_path: Path) -> None:
    write_page(tmp_path / "report.html", PAGE)
    text = (tmp_path / "report.html").read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    assert "A &lt;b&gt;bold&lt;/b&gt; &amp; title" in text
    assert "<script" not in text
    assert "<svg></svg>" in text
    assert text.count('src="data:image/png;base64,iVBORw=="') == 2
    assert "width: 75.0%" in text  # 3 s of 4 s
    assert "<tr><th>a.b</th><td>&#34;x&#34;</td></tr>" in text
    assert '<tr class="default"><th>a.c</th><td>1</td></tr>' in text
    for words in ("97 %", "no pictures", "loss_final", "4.0 s", "0.1"):
        assert words in text


def test_a_page_of_nothing_is_a_page(tmp_path: Path) -> None:
    write_page(tmp_path / "report.html", Page("t", [], [], [], {}, {}, [], "", {}))
    assert "</html>" in (tmp_path / "report.html").read_text()
