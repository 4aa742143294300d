"""An environment that training would fail in is rejected with one line before anything starts, by every command."""

import itertools

import gymnasium
import pytest

from tests.flows.user_worlds import write_module

INITIAL = """
    def initial(self, n):
        return np.tile([[self.length // 2, 0]], (n, 1))
"""
COMMANDS = {
    "check": ["check"],
    "certify": ["certify"],
    "train": ["train", "--method", "naive", "--env"],
    "compare": ["compare", "--methods", "naive,filtering", "--env"],
}
INIT = "oversight_prob=0.1, length=5):"
WRAPPED = """
from gymnasium.vector import VectorWrapper

class Wrapped(VectorWrapper):
    def __init__(self, **arguments):
        super().__init__(Corridor(**arguments))

import gymnasium
gymnasium.register(id="user/Corridor-v0", vector_entry_point=Wrapped)
"""
EYE = "return np.eye(self.length, dtype=np.float32)"
NOISE = "        self.noise"
FAULTS = {  # changes of a world without faults, and the message
    "syntax error": ([("LOSS = -1.0", "LOSS = = -1.0")], "SyntaxError: invalid syntax ({file}:"),
    "exception on import": ([("LOSS = -1.0", "LOSS = 1 / 0")], "ZeroDivisionError: division by zero ({file}:"),
    "exit on import": ([("LOSS = -1.0", "raise SystemExit(3)")], "importing {module} failed: SystemExit: 3 ({file}:"),
    "missing import": (
        [("import numpy as np\n", "import numpy as np\nimport no_such\n")],
        "No module named 'no_such' ({file}:3); is it installed, in the current folder or on PYTHONPATH?",
    ),
    "circular import": ([("import numpy as np\n", "import numpy as np\nfrom {module} import x\n")], "ImportError"),
    "keyword not kept": ([("self.length", "self.n")], "length"),
    "keywords in **kwargs": ([(INIT, "oversight_prob=0.1, length=5, **kwargs):")], "kwargs"),
    "positional *args": ([(INIT, "oversight_prob=0.1, length=5, *args):")], "args"),
    "constructor without a time limit": (
        [("max_episode_steps=20, ", ""), ("num_envs, max_episode_steps,", "num_envs, 20,")],
        "max_episode_steps",
    ),
    "constructor raises": (
        [(NOISE, "        raise RuntimeError('no\\nluck')\n" + NOISE)],
        "RuntimeError: no luck ({file}:",
    ),
    "constructor raises KeyError": ([(NOISE, "        {}['size']\n" + NOISE)], "KeyError: 'size' ({file}:"),
    "constructor asserts": ([(NOISE, "        assert length > 5\n" + NOISE)], "AssertionError ({file}:"),
    "constructor raises TypeError": ([(NOISE, "        None + 1\n" + NOISE)], "TypeError: unsupported operand"),
    "function raises": (
        [("return np.eye(", "return np.oops(")],
        "AttributeError: module 'numpy' has no attribute 'oops' ({file}:",
    ),
    "function raises late": (
        [("out[:, 1] = sees", "out[:, 1] = sees; assert self.num_envs == 1 or out[:, 0].all()")],
        "AssertionError ({file}:",
    ),
    "impure function": (
        [(EYE + "[state[:, 0]]", "return np.random.rand(len(state), self.length).astype(np.float32)")],
        "user/Corridor-v0': ",
    ),
    "verdict without a label": (
        [('("nothing", "good", "bad")', '("nothing", "good")')],
        "3 verdicts for 2 overseer_labels",
    ),
    "nan as reward": ([("* 1.0)", "* np.nan)")], "true_reward"),
    "start distribution": ([("np.ones(1)", "np.ones(1) / 2")], "sum to 0.5"),
    "discount": ([("gamma = 0.9", "gamma = 1.5")], "gamma is 1.5"),
    "observation outside the space": ([(EYE, EYE.replace("np.eye", "2 * np.eye"))], "outside Box"),
    "wrapper that hides gamma": ([], "hides gamma"),
}


@pytest.fixture
def user(tmp_path, monkeypatch):
    """A folder on the module search path; environments of its modules are unregistered after the test."""
    folder = tmp_path / "user"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    yield folder
    gymnasium.registry.pop("user/Corridor-v0", None)


def rejected(outcome: tuple[int, str, str], *parts: str) -> None:
    code, out, err = outcome
    assert (code, out) == (2, "")
    assert err.startswith("keyhole: ")
    assert err.count("\n") == 1
    for part in parts:
        assert part in err


@pytest.mark.parametrize(("fault", "command"), [*zip(FAULTS, itertools.cycle(COMMANDS), strict=False)])
def test_a_faulty_environment_is_rejected_with_one_line(fault, command, user, keyhole, request):
    changes, message = FAULTS[fault]
    module = "faulty_" + fault.translate(str.maketrans(" *", "__"))
    register = WRAPPED if "wrapper" in fault else None
    changes = [(old, new.replace("{module}", module)) for old, new in changes]
    env = write_module(user, module, *changes, **({"register": register} if register else {}))
    file = user / f"{module}.py"
    rejected(
        keyhole(*COMMANDS[command], env),
        message.replace("{file}", str(file.relative_to(user.parent))).replace("{module}", module),
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_rejects_an_exception_of_user_code_with_type_file_and_line(command, user, keyhole):
    module = f"raises_in_{command}"
    env = write_module(user, module, (NOISE, "        raise OSError('no such map')\n" + NOISE))
    line = 1 + (user / f"{module}.py").read_text().partition("raise OSError")[0].count("\n")
    rejected(keyhole(*COMMANDS[command], env), f"OSError: no such map (user/{module}.py:{line})")


def test_check_reports_tables_of_an_environment_without_faults(user, keyhole):
    env = write_module(user, "faultless")
    note = "the time limit can end an episode as 'right', an outcome of episodes that terminate: name one for it"
    assert keyhole("check", env, "--set", "length=7") == (0, f"fine: tables with 14 states; {note}\n", "")


def test_check_reports_why_there_are_no_tables(user, keyhole):
    starts = ("    def starts(self):\n        return np.array([[self.length // 2, 0]]), np.ones(1)", INITIAL)
    code, out, _ = keyhole("check", write_module(user, "sampled", starts))
    assert code == 0
    assert out.startswith("fine: no tables; Corridor ")


def test_check_reports_that_an_environment_takes_no_oversight(user, keyhole):
    code, out, _ = keyhole("check", "keyhole/DiamondVault-v0")
    assert code == 0
    assert "takes no oversight_prob" in out


FOREIGN = """
import gymnasium
import numpy as np
from tests.flows.foreign import Bandit


class Foreign(Bandit):
{body}


gymnasium.register(id="user/Corridor-v0", vector_entry_point=Foreign)
"""
STEP = "    def step(self, actions):\n        obs, reward, done, truncated, info = super().step(actions)\n"
INIT_FEW = """
    def __init__(self, num_envs, **arguments):
        assert num_envs <= 16
        super().__init__(num_envs, **arguments)
"""
RETURN = "        return obs, reward, done, truncated, info"
FOREIGN_FAULTS = {  # bodies of a subclass of an environment without faults that is not a POMDP, and the message
    "too many copies": (INIT_FEW, "AssertionError (user/"),
    "no watched": ("    def reset(self, **k):\n        return super().reset(**k)[0], {}", "reset() gives no 'watched'"),
    "list of verdicts": ("    judgement = [float('nan'), -1, 1]", "judgement must be a numpy array, found list"),
    "exit in step": ("    def step(self, actions):\n        raise SystemExit('bye')", "SystemExit: bye (user/"),
    "close raises": (
        "    def close(self, **k):\n        raise OSError('cannot close')",
        "OSError: cannot close (user/",
    ),
    "endless": (
        STEP + "        del info['final_obs'], info['_final_obs']\n" + RETURN.replace("done", "~done"),
        "no episode ends within 10,000 random steps",
    ),
    "float as done": (STEP + RETURN.replace("done", "done * 1.0"), "terminated"),
    "verdict out of range": (STEP + "        info['overseer_obs'] += 7\n" + RETURN, "user/Corridor-v0"),
}


@pytest.mark.parametrize(("fault", "command"), [*zip(FOREIGN_FAULTS, itertools.cycle(COMMANDS), strict=False)])
def test_a_faulty_foreign_environment_is_rejected_with_one_line(fault, command, user, keyhole):
    body, message = FOREIGN_FAULTS[fault]
    module = "foreign_" + fault.replace(" ", "_")
    (user / f"{module}.py").write_text(FOREIGN.format(body=body))
    words = ["check"] if command == "certify" else COMMANDS[command]  # a certificate needs a POMDP
    rejected(keyhole(*words, f"{module}:user/Corridor-v0"), message)


def test_the_output_of_an_environment_is_not_part_of_the_check(user, keyhole):
    env = write_module(user, "chatty", (NOISE, "        print('hello')\n" + NOISE))
    code, out, err = keyhole("check", env)
    assert (code, err) == (0, "")
    assert out.startswith("fine: tables with 10 states;")  # then a note on time-outs, and nothing that it prints
