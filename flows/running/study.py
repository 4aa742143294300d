"""Makes one run of a study: seeds the generators, calls the study's function and records its read-outs."""

import math
import random
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch

from agents import studies
from flows.running.train import Recorder
from flows.study_config import PROGRESS_STEPS, StudyRun
from flows.tracking.metric_names import CURVE, READOUT


class LiveRun(NamedTuple):
    """What a study's function receives; see `agents.studies.Run`."""

    seed: int
    recorder: Recorder

    def record(self, step: int, values: Mapping[str, float]) -> None:
        """Records one point of each curve."""
        self.recorder.metrics(step, {CURVE + name: value for name, value in values.items()})

    def progress(self, share: float) -> None:
        """Reports the share of the run that is done."""
        self.recorder.progress(int(share * PROGRESS_STEPS), math.nan)


def run(config: StudyRun, recorder: Recorder) -> None:
    """Makes a run on one thread; equal seeds give equal read-outs.

    Args:
        config: The run.
        recorder: Receives the read-outs, as metrics at step 0, and curves.

    Raises:
        ValueError: A read-out is no finite number and not nan.
    """
    study = studies.find_study(config.study)
    torch.set_num_threads(1)
    random.seed(config.seed)
    np.random.seed(config.seed)  # noqa: NPY002  (libraries may draw from the global generator)
    torch.manual_seed(config.seed)
    settings = study.settings(config.preset, config.arm, config.level)
    readouts = {name: float(value) for name, value in study.measure(LiveRun(config.seed, recorder), **settings).items()}
    if infinite := [name for name, value in readouts.items() if math.isinf(value)]:
        raise ValueError(f"read-out {infinite[0]} of {config.title} is infinite; return nan where it is undefined")
    recorder.metrics(0, {READOUT + name: value for name, value in readouts.items()})
