"""The documentation's examples produce the documented results, and the page embeds them verbatim."""

import runpy
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"


def run(name: str, function: str = "main"):
    return runpy.run_path(str(DOCS / "examples" / f"{name}.py"))[function]


def test_the_page_embeds_every_example_verbatim():
    page = (DOCS / "routing.md").read_text()
    for name in ("classifier", "policy", "transformer"):
        assert (DOCS / "examples" / f"{name}.py").read_text() in page


@pytest.mark.slow
def test_ablation_removes_private_knowledge_and_filtering_does_not():
    results = run("classifier")()
    ablated = results["routed, private units ablated"]
    assert results["filtered"]["private"] > 0.9
    assert results["routed"]["private"] > 0.9
    assert ablated["private"] < 0.65
    assert ablated["public"] > 0.95


@pytest.mark.slow
def test_contraction_removes_the_second_language():
    results = run("transformer")()
    assert results["expanded, trained on both"]["second"] > 0.9
    assert results["contracted"]["first"] > 0.95
    assert results["contracted"]["second"] < 0.1


@pytest.mark.slow
def test_the_retain_expert_alone_acts_better_than_both_experts():
    results = run("policy")()
    assert results["retain alone"] > results["both experts"] + 0.1
    assert results["forget alone"] < results["both experts"] - 0.1


def test_the_figure_of_the_levels_is_drawn(tmp_path):
    run("levels", "draw")(tmp_path / "levels.png")
    assert 10_000 < (tmp_path / "levels.png").stat().st_size < 200_000
