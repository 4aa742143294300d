"""Named sets of settings that replace the defaults.

A preset whose results are to be cited has enough seeds for its family of tests: at least twelve. The others are for
trying things out, and their description states that they decide nothing.
"""

from typing import Any, Literal

Preset = Literal["quick", "figure", "paper", "labels", "smoke", "hide-errors", "verbose-log", "diamond-vault"]

DESCRIPTIONS: dict[Preset, str] = {
    "quick": "six methods in minutes, 3 seeds: decides nothing",
    "figure": "seven arms at three oversight levels, 12 seeds",
    "paper": "twelve methods at the settings of Cloud et al. 2024, 12 seeds",
    "labels": "arms that use few labels, agent aware and blind, with controls, 12 seeds",
    "smoke": "a few rollouts, 2 seeds: shows that everything runs, decides nothing",
    "hide-errors": "predictions of certificates at two settings of HideErrors, 5 seeds: decides nothing",
    "verbose-log": "predictions of certificates at two settings of VerboseLog, 5 seeds: decides nothing",
    "diamond-vault": "predictions of the certificate of DiamondVault, 5 seeds: decides nothing",
}
SHELL = {  # the world's own overseer; the entropy bonus vanishes, since the predictions are of deterministic optima
    "oversight": (0.0,),
    "seeds": 5,
    "steps": 600_000,
    "checkpoints": 5,
    "training": {"n_envs": 256, "width": 32, "final_ent_coef": 1e-5},
}
PRESETS: dict[Preset, dict[str, Any]] = {
    "quick": {
        "methods": (
            "gradient_routing_weighted",
            "naive(weights=ipw(10))",
            "filtering",
            "naive",
            "reward_model",
            "oracle",
        ),
        "oversight": (0.03, 0.1, 0.3),
        "seeds": 3,
        "steps": 600_000,
        "checkpoints": 5,
        "training": {"precision": "auto"},
    },
    "figure": {
        "methods": (
            "gradient_routing_weighted",
            "gradient_routing",
            "naive(weights=ipw(10))",
            "naive",
            "filtering",
            "reward_model",
            "oracle",
        ),
        "oversight": (0.03, 0.1, 0.3),
        "seeds": 12,
        "steps": 600_000,
        "checkpoints": 5,
        "training": {"precision": "auto"},
    },
    "paper": {  # Cloud et al. 2024, section 4.3: REINFORCE with a value baseline, one optimiser step per rollout
        "methods": (
            "filtering",
            "filtering_strict",
            "filtering_unfinished",
            "gradient_routing",
            "gradient_routing_weighted",
            "naive",
            "naive_weighted",
            "no_gate",
            "no_routing",
            "oracle",
            "proxy",
            "reward_model",
        ),
        "reference": "gradient_routing",
        "oversight": (0.003, 0.01, 0.025, 0.03, 0.05, 0.1),
        "seeds": 12,
        "steps": 327_680_000,
        "checkpoints": 100,
        "training": {
            "n_envs": 512,
            "n_steps": 32,
            "n_epochs": 1,
            "batch_size": 512 * 32,
            "learning_rate": 5e-5,
            "gamma": 0.97,
            "gae_lambda": 1.0,
            "ent_coef": 0.1,
            "vf_coef": 0.5,
            "gate_coef": 0.01,
            "normalize_advantage": False,
            "width": 256,
        },
    },
    "labels": {  # how far do few verdicts go, if the agent sees what is watched and if it does not
        "methods": (
            "gradient_routing_weighted",
            "gradient_routing_weighted(masks=none)",
            "naive_weighted",
            "filtering",
            "reward_model",
            "gradient_routing_weighted@knowledge=blind",
            "gradient_routing_weighted(masks=none)@knowledge=blind",
            "naive_weighted@knowledge=blind",
            "unbiased_penalty@knowledge=blind",
            "filtering@knowledge=blind",
        ),
        "oversight": (0.003, 0.01, 0.03, 0.1),
        "seeds": 12,
        "steps": 600_000,
        "checkpoints": 5,
        "training": {"precision": "auto"},
    },
    "smoke": {
        "oversight": (0.1, 0.5),
        "seeds": 2,
        "steps": 4_096,
        "checkpoints": 2,
        "training": {"n_envs": 32, "n_steps": 32, "width": 16},
    },
    "hide-errors": {  # Lang et al. 2024, example A: deceptive inflation, then overjustification
        **SHELL,
        "env": "envs:keyhole/HideErrors-v0",
        "methods": (
            "naive@p=0.5@p_H=0.5",
            "oracle@p=0.5@p_H=0.5",
            "naive@p=0.1@p_H=0.9",
            "oracle@p=0.1@p_H=0.9",
        ),
    },
    "verbose-log": {  # Lang et al. 2024, example B: deceptive inflation, then overjustification
        **SHELL,
        "env": "envs:keyhole/VerboseLog-v0",
        "methods": (
            "naive@p=0.5@p_D=0.9",
            "oracle@p=0.5@p_D=0.9",
            "naive@p=0.5@p_D=0.1",
            "oracle@p=0.5@p_D=0.1",
        ),
    },
    "diamond-vault": {  # whole episodes in a rollout: starts are rare, and only they teach an agent to guard
        **SHELL,
        "env": "envs:keyhole/DiamondVault-v0",
        "methods": ("naive", "oracle"),
        "steps": 4_000_000,
        "training": {"n_envs": 256, "n_steps": 256, "width": 32, "final_ent_coef": 1e-5},
    },
}
