"""Predictions of certificates stand beside the measured values of the arms that were trained in the certified world."""

import json

import pytest

from flows.axis import oversight_level
from flows.cli.show import print_predictions
from flows.compare import changed_arguments, complete_levels, uncertified
from flows.config import CompareConfig
from flows.errors import UserError
from flows.reporting import figures, predictions, report
from flows.reporting.aggregate import compare_rows
from flows.tracking.certificates import certificate_path, read_certificate
from flows.tracking.metric_names import outcome_metric
from flows.tracking.missing import Missing
from flows.tracking.results import Results, Row

NAN = float("nan")
CERTIFICATE = {
    "world": "Toy", "parameters": {"p": 0.5, "max_episode_steps": 4}, "enforceable_is_exact": False,
    "optimal_return": 3.5, "enforceable_return": 3.25, "naive_optimum_return": 3.0,
    "optimum_believed_return": 3.5, "naive_optimum_believed_return": 4.5,
    "overestimation_error_of_optimum": None, "overestimation_error": 1.5,
    "underestimation_error_of_optimum": 0.0, "underestimation_error": 0.0,
    "optimum_outcomes": {"works, hidden": 0.0, "fails": 1.0, "never": 0.0},
    "naive_optimum_outcomes": {"works, hidden": 0.5, "fails": 0.5, "never": 0.001},
}  # fmt: skip


def row(arm, seed, rule="final", **evaluation):
    metrics = {"eval/true_return": 3.0 + 0.1 * seed, "eval/outcome/works hidden": 0.5, **evaluation}
    numbers = dict.fromkeys(("seen", "unseen", "selected_step", "proxy_return", "labels_used"), NAN)
    return Row(
        row=arm if rule == "final" else f"{arm}/{rule}", method=arm, deployment=rule, leaky=False, oversight=0.0,
        seed=seed, status="FINISHED", true_return=9.0, without={}, exactness="exact", run_id=f"{arm} {seed}", error="",
        evaluation=metrics, **numbers,
    )  # fmt: skip


@pytest.fixture
def comparison(tmp_path):
    rows = [row(arm, seed) for arm in ("naive", "naive@p=0.1") for seed in range(3)]
    rows += [row("naive", seed, "early_stopping") for seed in range(3)]
    for changes, best in (({}, 3.5), ({"p": 0.1}, 1.0)):
        certificate_path(tmp_path, oversight_level(0.0), changes).write_text(
            json.dumps(CERTIFICATE | {"optimal_return": best})
        )
    return compare_rows(Results("id", "toy", "FINISHED", 0.0, tmp_path, {}, {}, tuple(rows), {}, "naive"))


def test_every_certified_world_is_a_setting_with_its_predictions_and_measured_values(comparison):
    own, changed = predictions.predicted_worlds(comparison)
    assert own.title == "Toy p=0.5, oversight 0"
    assert own.arms == changed.arms == ["naive"]
    assert own.predictions == ["optimum", "enforceable, at least", "naive optimum"]
    lines = {line.quantity: line for line in own.lines}
    assert lines["true return"].predicted == {"optimum": 3.5, "enforceable, at least": 3.25, "naive optimum": 3.0}
    assert lines["true return"].measured["naive"].mean == pytest.approx(3.1)
    assert lines["true return"].measured["naive"].n == 3  # rows of further deployment rules are left out
    assert lines["overestimation"].predicted == {"naive optimum": 1.5}
    assert lines["works, hidden"].measured["naive"].mean == 0.5
    assert "never" not in lines
    assert changed.lines[0].predicted["optimum"] == 1.0


def test_the_table_has_a_dash_for_what_is_not_known(comparison):
    lines = predictions.predictions_table(predictions.predicted_worlds(comparison)[0]).splitlines()
    assert "| true return | 3.500 | 3.250 | 3.000 | 3.100 ± 0.248 |" in lines
    assert "| believed return | 3.500 | – | 4.500 | – |" in lines
    assert "| rate of “works, hidden” | 0.000 | – | 0.500 | 0.500 ± 0.000 |" in lines


def test_the_report_has_the_picture_only_with_a_certificate(comparison, tmp_path):
    images = report.draw_figures(comparison, Missing())
    assert images[report.PREDICTIONS].startswith(b"\x89PNG")
    assert "Predictions of the certificates" in report.render(comparison, images)
    for path in tmp_path.glob("certificate-*.json"):
        path.unlink()
    assert report.PREDICTIONS not in report.draw_figures(comparison, Missing())
    assert predictions.predicted_worlds(comparison) == []


def test_certificates_of_earlier_versions_make_no_setting(comparison, tmp_path):
    old = {name: value for name, value in CERTIFICATE.items() if name != "optimum_outcomes"}
    certificate_path(tmp_path, oversight_level(0.0)).write_text(json.dumps(old))
    assert len(predictions.predicted_worlds(comparison)) == 1


def test_a_setting_without_measured_values_can_be_drawn():
    line = predictions.Line("true return", False, {"optimum": 1.0}, {})
    assert figures.predictions_figure([predictions.PredictedWorld("empty", (line,))]).startswith(b"\x89PNG")


def test_a_sweep_without_certificates_has_no_predictions_to_print(store):
    with store.run("uncertified", {}, {"kind": "sweep"}) as parent:
        pass
    with pytest.raises(UserError, match="no certificate with predictions"):
        print_predictions(store, parent.run_id)


ARMS = ("naive@p=0.1", "oracle@p=0.1", "naive", "oracle")


def test_every_world_of_a_sweep_is_certified_once(tmp_path):
    config = CompareConfig(env="keyhole/HideErrors-v0", methods=ARMS, oversight=(0.0, 0.5), seeds=2)
    found = [(run.oversight, changed_arguments(run)) for run in uncertified(config, tmp_path)]
    assert found == [(0.0, {"p": 0.1}), (0.0, {}), (0.5, {"p": 0.1}), (0.5, {})]
    certificate_path(tmp_path, oversight_level(0.5), {"p": 0.1}).write_text("{}")
    assert len(uncertified(config, tmp_path)) == 3


def test_a_level_whose_arms_all_change_an_argument_has_the_certificate_of_its_first_arm(tmp_path):
    class Record:
        folder, logged = tmp_path, {}

        def params(self, values):
            self.logged |= values

    config = CompareConfig(env="keyhole/HideErrors-v0", methods=ARMS[:2], oversight=(0.0,), seeds=1)
    certificate_path(tmp_path, oversight_level(0.0), {"p": 0.1}).write_text(json.dumps(CERTIFICATE))
    complete_levels(config, Record())
    assert read_certificate(tmp_path, oversight_level(0.0), {}) == CERTIFICATE
    assert Record.logged["certificate.0.optimal_return"] == 3.5


def test_the_path_of_a_certificate_is_a_file_name_whatever_the_arguments_are(tmp_path):
    assert certificate_path(tmp_path, oversight_level(0.1), {"p": 0.1, "a": 1}).name == "certificate-0.1@a=1@p=0.1.json"
    odd = certificate_path(tmp_path, oversight_level(0.1), {"map": "../../x"})
    assert odd.parent == tmp_path
    assert odd != certificate_path(tmp_path, oversight_level(0.1), {"map": "../../y"})


def test_a_metric_of_an_outcome_has_only_characters_that_mlflow_allows():
    assert outcome_metric("works, hidden: 1/2") == "eval/outcome/works hidden 12"
