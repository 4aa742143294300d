"""Bad input gives one line and exit code 2 before anything starts."""

import json

import pytest

ODD = "tests.flows.worlds:odd/"
CASES = {
    "unknown environment": (["--env", "keyhole/DiamondGhst-v0"], "did you mean 'keyhole/DiamondGhost-v0'?"),
    "environment without namespace": (["--env", "TMaze-v0"], "did you mean 'keyhole/TMaze-v0'?"),
    "module of the environment": (["--env", "no_module:mine/World-v0"], "no module named 'no_module'"),
    "fully observed environment": (["--env", "CartPole-v1"], "NEXT_STEP; runs need SAME_STEP"),
    "environment without vector form": (["--env", "FrozenLake-v1"], "NEXT_STEP; runs need SAME_STEP"),
    "environment that resets in the next step": (["--env", f"{ODD}NextStep-v0"], "NEXT_STEP; runs need SAME_STEP"),
    "environment without a view": (["--env", f"{ODD}Plain-v0"], "lacks overseer_obs, true_reward"),
    "argument of the environment": (["--set", "sizze=4"], "did you mean 'size'?"),
    "value of the argument": (["--set", "size=-1"], "size must be at least 2, found -1"),
    "choice of the argument": (["--set", "regime=iid"], "unknown regime 'iid'"),
    "argument without a value": (["--set", "size"], "'size' is not of the form NAME=VALUE"),
    "axis unknown": (["--axis", "sizee=2,3"], "DiamondGhost-v0 'sizee'; did you mean 'size'?"),
    "axis that users do not set": (["--axis", "num_envs=2,3"], "--axis: unknown argument"),
    "axis of an unknown environment": (["--axis", "size=2,3", "--env", "keyhole/TMaz-v0"], "did you mean"),
    "axis set too": (["--axis", "size=2,3", "--set", "size=4"], "size is set twice; leave out --set size=4"),
    "axis set by an arm": (
        ["--methods", "naive@size=3,oracle", "--axis", "size=2,3"],
        "naive@size=3 sets size, which --axis changes",
    ),
    "axis without values": (["--axis", "size="], "--axis: found 'size='; the axis size has no values"),
    "axis with a value that the world refuses": (["--axis", "size=1,2"], "--axis size=1: environment"),
    "axis with a value of another kind": (["--axis", "size=2,big"], "--axis size=big: environment"),
    "axis of oversight": (["--axis", "oversight_prob=0.1,0.2"], "use --oversight 0.1,0.2"),
    "axis with oversight levels": (["--axis", "size=2,3", "--oversight", "0.1,0.2"], "has one oversight level"),
    "axis of an absent limit": (["--axis", "recall.rate=0.1,0.2"], "--overseer lacks the limit 'recall'"),
    "axis of another limit": (
        ["--axis", "recall.rate=0.1,0.2", "--overseer", "noise(0.05)"],
        "lacks the limit 'recall', found noise",
    ),
    "oversight set twice": (["--set", "oversight_prob=0.1"], "use --oversight"),
    "unknown method": (["--methods", "gradient_ruting"], "did you mean 'gradient_routing'?"),
    "method named twice": (["--methods", "naive,naive"], "'naive' is named twice"),
    "unclosed bracket": (["--methods", "naive(weights=ipw(10)"], "lacks a closing ')'"),
    "unknown kind of part": (["--methods", "naive(wieghts=ipw)"], "did you mean 'weights'?"),
    "unknown part": (["--methods", "naive(weights=ipv)"], "unknown weights 'ipv'; did you mean 'ipw'?"),
    "value of a part": (["--methods", "naive(weights=ipw(0.5))"], "ipw has cap 0.5"),
    "parts that do not hold together": (
        ["--methods", "gradient_routing(network=ungated)"],
        "gate_loss=verdict needs a gate, which network=ungated lacks",
    ),
    "one composition twice": (
        ["--methods", "no_routing,gradient_routing(masks=none)"],
        "no_routing and gradient_routing(masks=none) are the same composition; leave one out",
    ),
    "start that does not exist": (["--start", "missing.zip"], "cannot read the agent missing.zip: no such file"),
    "start that is no agent": (["--start", "a_file"], "is not a keyhole agent file"),
    "whole episodes of ppo": (["--learner", "ppo", "--whole-episodes", "true"], "use reinforce for whole episodes"),
    "unknown reference": (["--reference", "filterin"], "unknown reference arm 'filterin'; did you mean 'filtering'?"),
    "reference not compared": (["--methods", "naive", "--reference", "oracle"], "unknown reference arm 'oracle'"),
    "rule as reference": (["--methods", "naive", "--reference", "naive/early_stopping"], "one of naive"),
    "no method": (["--methods", ""], "name at least one"),
    "unknown option": (["--metods", "naive"], "'--methods'"),
    "device that does not exist": (["--device", "cuda:77"], "is not available"),
    "unknown preset": (["--preset", "qick"], "did you mean 'quick'?"),
    "extra argument": (["naive"], "unexpected extra argument (naive)"),
    "probability above 1": (["--oversight", "0.1,1.5"], "--oversight: found '1.5'; should be less than or equal to 1"),
    "probability below 0": (["--oversight", "-0.1"], "should be greater than or equal to 0"),
    "nan as probability": (["--oversight", "nan"], "--oversight: found 'nan'"),
    "negative steps": (["--steps", "-5"], "--steps: found -5; should be greater than or equal to 1"),
    "steps in words": (["--steps", "many"], "--steps: found 'many'; should be a valid integer"),
    "fraction of a step": (["--steps", "0.5"], "--steps: found '0.5'"),
    "learner's setting": (["--learning-rate", "0"], "--learning-rate: found '0'; should be greater than 0"),
    "unwritable store": (["--mlruns", "/proc/mlruns"], "cannot write to /proc/mlruns"),
    "store that is a file": (["--mlruns", "a_file"], "pass --mlruns DIR"),
    "missing file": (["--config", "missing.toml"], "cannot read the configuration file missing.toml"),
    "file with a wrong key": (["--config", "key.toml"], "key.toml: stepps: no such setting; did you mean 'steps'?"),
    "file with a wrong inner key": (["--config", "inner.json"], "did you mean 'learning_rate'?"),
    "file with a wrong value": (["--config", "value.toml"], "value.toml: oversight: found 2.0"),
    "file with bad syntax": (["--config", "syntax.toml"], "syntax.toml is not valid TOML"),
    "file without a table": (["--config", "list.json"], "list.json holds a list"),
}  # fmt: skip
FILES = {
    "a_file": "",
    "key.toml": "stepps = 5",
    "inner.json": json.dumps({"training": {"lerning_rate": 1}}),
    "value.toml": "oversight = [2.0]",
    "syntax.toml": "steps = = 5",
    "list.json": "[]",
}


@pytest.fixture
def files(checkout):
    for name, text in FILES.items():
        (checkout / name).write_text(text)
    return checkout


@pytest.mark.parametrize("case", CASES)
def test_compare_rejects_bad_input_with_one_line_and_starts_nothing(case, files, keyhole):
    words, message = CASES[case]
    code, out, err = keyhole("compare", *words)
    assert code == 2
    assert message in err
    assert err.startswith("keyhole: ")
    assert err.count("\n") == 1
    assert out == ""
    assert not (files / "mlruns" / "mlflow.db").exists()
    assert not (files / ".prefect" / "server.log").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["compre"], "did you mean 'compare'"),
        (["train", "--method", "naiv"], "did you mean 'naive'?"),
        (["train", "--axis", "size"], "no such option '--axis'"),
        (["train", "--seed", "-1"], "--seed: found -1"),
        (["train", "--oversight", "0.1,0.2"], "should be a valid number"),
        (["report", "mine"], "no runs in"),
        (["ui"], "no runs in"),
        (["runs"], "no runs in"),
        (["runs", "--status", "done"], "'--status'"),
        (["show", "mine"], "no runs in"),
        (["play"], "missing option '--agent'"),
        (["play", "--agent", "mine", "--episodes", "0"], "'--episodes'"),
        (["ui", "--port", "0"], "'--port'"),
        (["effects"], "no runs in"),
        (["effects", "--parts", "masks"], "name two kinds of parts"),
        (["effects", "--parts", "masks,bseline"], "did you mean 'baseline'?"),
        (["methods", "naiv"], "did you mean 'naive'?"),
        (["methods", "naive", "oracle(weights=ipv)"], "did you mean 'ipw'?"),
        (["methods", "naive", "oracle", "proxy"], "name one method, or two"),
    ],
)
def test_other_commands_reject_bad_input_with_one_line(words, message, keyhole):
    code, _, err = keyhole(*words)
    assert code == 2
    assert message.lower() in err.lower()
    assert err.count("\n") == 1


def test_a_second_sweep_is_rejected_while_the_first_one_runs(checkout, keyhole):
    import subprocess
    import sys

    (checkout / "mlruns").mkdir()
    hold = (
        "import fcntl, os; f = open('mlruns/.lock', 'w'); fcntl.flock(f, fcntl.LOCK_EX);"
        "f.write(str(os.getpid())); f.flush(); print(flush=True); input()"
    )
    with subprocess.Popen([sys.executable, "-c", hold], stdin=-1, stdout=-1, text=True) as first:
        first.stdout.readline()
        code, _, err = keyhole("compare")
        first.stdin.close()
    assert code == 2
    assert f"another sweep (process {first.pid}) writes to {checkout / 'mlruns'}" in err
