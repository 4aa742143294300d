"""Training functions that do not learn, so that a sweep can be tested in seconds."""

import errno
import os
import resource
import signal
import time

import numpy as np

from flows.config import TrainConfig


def learns(config: TrainConfig, recorder) -> None:
    """Records a curve that depends only on the settings, and the metrics of one deployment rule."""
    recorder.tags({"deployments": "whole", "leaky": "", "exactness": "exact"})
    random = np.random.default_rng(config.seed)
    value = 0.0
    for step in np.linspace(0, config.steps, config.checkpoints + 1).astype(int)[1:]:
        value = config.oversight * (1 - np.exp(-3 * step / config.steps)) + random.normal(0, 0.01)
        recorder.metrics(int(step), {"eval/true_return": value, "eval/true_return/without_gate": value / 2})
        recorder.progress(int(step), value)
    final = {"true_return": value, "true_return_seen": 1.0, "true_return_unseen": -1.0, "step": config.steps}
    recorder.metrics(config.steps, {f"selected/{name}/whole": number for name, number in final.items()})
    (recorder.folder / "agent.zip").write_bytes(b"weights")


def misbehaves(config: TrainConfig, recorder) -> None:
    """As `learns`, with bad acts, scales of the forget expert, relearning and absorption; `env_kwargs` sets the rates.

    A bad act costs 0.5, so the true return is the retained return minus half of the bad acts.
    """
    recorder.tags({"deployments": "measured", "leaky": "", "exactness": "exact"})
    random = np.random.default_rng(config.seed)
    rates = {"monitored": 0.1, "unmonitored": 0.2, "retained": 0.8, **config.env_kwargs}
    monitored, unmonitored = (max(0.0, rates[name] + random.normal(0, 0.01)) for name in ("monitored", "unmonitored"))
    retained, total = rates["retained"] + random.normal(0, 0.01), monitored + unmonitored
    selected = {
        "true_return": retained - total / 2,
        "bad_acts": total,
        "bad_acts_monitored": monitored,
        "bad_acts_unmonitored": unmonitored,
        "bad_verdicts": monitored / 2,
        "retained_return": retained,
        "scale": 0.3,
    }
    recorder.metrics(config.steps, {f"selected/{name}/measured": value for name, value in selected.items()})
    recorder.metrics(config.steps, {"eval/true_return": selected["true_return"], "oversight/labels_used": 200.0})
    if config.method == "proxy":
        return
    for tenth in range(11):
        grown = total * tenth / 10
        curve = {"true_return": retained - grown / 2, "bad_acts/monitored": grown / 3, "bad_acts/unmonitored": grown}
        recorder.metrics(tenth, {f"scale/{name}": value for name, value in curve.items()})
    for update in (0, 1, 2, 4, 8, 16):
        rate = 1 - (1 - total) * np.exp(-update / rates.get("slowness", 4.0))
        recorder.metrics(update, {"relearning/bad_acts": rate, "relearning/true_return": retained - rate / 2})
    shares = {"unlabelled_bad_share": 0.5, "gradient_share": 0.75, "ablation_effect": -0.25}
    recorder.metrics(config.steps, {f"absorption/{name}": value for name, value in shares.items()})


def acts(config: TrainConfig, recorder) -> None:
    """As `learns`, and saves an untrained agent."""
    import agents

    learns(config, recorder)
    world = {"oversight_prob": config.oversight, **config.env_kwargs}
    env = agents.make_vec_env(config.env, 4, **world)
    policy = agents.build(env, config.method, config.seed, n_steps=8, width=4).policy
    agents.save(recorder.folder / "agent.zip", policy, config.env, world, config.method, seed=config.seed)


def fails_on_filtering(config: TrainConfig, recorder) -> None:
    if config.method == "filtering":
        raise ValueError("nothing <b>passed</b> the filter")
    learns(config, recorder)


def dies_once(config: TrainConfig, recorder) -> None:
    """Kills its process at the first attempt of filtering with seed 1."""
    if (config.method, config.seed) == ("filtering", 1) and first_time(config, recorder):
        os.kill(os.getpid(), signal.SIGKILL)
    learns(config, recorder)


def first_time(config: TrainConfig, recorder) -> bool:
    """Returns whether this is the run's first attempt."""
    marker = recorder.folder.parents[1] / f"{config.method}-{config.seed}"
    existed = marker.exists()
    marker.touch()
    return not existed


def dies_midway(config: TrainConfig, recorder) -> None:
    """Trains; the first attempt kills its process at the third evaluation."""
    from flows.running import train

    recorder.left = 3 if first_time(config, recorder) else -1
    record = recorder.metrics

    def record_or_die(step, values) -> None:
        recorder.left -= 1
        if not recorder.left:
            time.sleep(0.5)  # lets the parent receive the earlier messages
            os.kill(os.getpid(), signal.SIGKILL)
        record(step, values)

    recorder.metrics = record_or_die
    train.run(config, recorder)


def fills_the_disk(config: TrainConfig, recorder) -> None:
    """Raises the error of a full disk if the method is filtering."""
    if config.method == "filtering":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(recorder.folder / "agent.zip"))
    learns(config, recorder)


def needs_much_memory(config: TrainConfig, recorder) -> None:
    """Allocates more memory than its process may use if the method is filtering."""
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (2**34, limits[1]))
    try:
        if config.method == "filtering":
            np.ones(2**34)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
    learns(config, recorder)


def dies(config: TrainConfig, recorder) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def lingers_once(config: TrainConfig, recorder) -> None:
    """The first attempt lasts a minute."""
    (lingers if first_time(config, recorder) else learns)(config, recorder)


def lingers(config: TrainConfig, recorder) -> None:
    """Lasts a minute."""
    recorder.metrics(1, {"eval/true_return": 0.5})
    recorder.progress(1, 0.5)
    time.sleep(60)


def takes_seconds(config: TrainConfig, recorder) -> None:
    """As `learns`, after five seconds."""
    time.sleep(5)
    learns(config, recorder)
