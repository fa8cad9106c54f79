"""Names in pages are text, whatever characters they have."""

from pathlib import Path

from experiments.reports.page import breakable, render


def test_names_are_no_html(tmp_path: Path) -> None:
    template = tmp_path / "x.html"
    template.write_text("<b>{{ name }}</b> {{ key | breakable }}")
    page = render(template, name="<script>alert(1)</script>", key="a.<i>_b")
    assert page == "<b>&lt;script&gt;alert(1)&lt;/script&gt;</b> a<wbr>.&lt;i&gt;<wbr>_b"


def test_names_break_between_words_and_numbers_do_not() -> None:
    assert breakable("optim.learning_rate 0.0002") == "optim<wbr>.learning<wbr>_rate 0.0002"
