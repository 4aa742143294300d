"""A converted agent is the agent of the old file, which only `convert_file` reads, in a process with bounded memory."""

import io
import math
import os
import pickle
import re
import zipfile

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box

import agents
from agents import BadAgentError
from agents.saving.convert import convert_file, main
from tests.agents.saving import forging
from tests.agents.saving.test_agent_file import ENV, METHODS_BY_KIND, WORLD, Malice, trained

NETWORK = "mlp_extractor.experts.retain.0.weight"


@pytest.fixture(scope="module")
def policy():
    return trained()


@pytest.fixture
def current(policy, tmp_path):
    """A file in the current format."""
    agents.save(tmp_path / "current.zip", policy, ENV, WORLD, "gradient_routing", seed=7)
    return tmp_path / "current.zip"


@pytest.fixture
def old(current, tmp_path):
    """The file of the same agent in format 1."""
    forging.write_old(tmp_path / "agent.zip", current)
    return tmp_path / "agent.zip"


@pytest.fixture
def in_process(monkeypatch):
    """Conversions need no child process, whose imports take seconds."""
    monkeypatch.setattr("agents.saving.convert._run_child", main)


@pytest.mark.usefixtures("in_process")
def test_a_converted_file_is_the_file_that_save_writes(old, current, tmp_path):
    before = old.read_bytes()
    assert convert_file(old, tmp_path / "new.zip") == tmp_path / "new.zip"
    assert (tmp_path / "new.zip").read_bytes() == current.read_bytes()
    assert old.read_bytes() == before
    assert sorted(file.name for file in tmp_path.iterdir()) == ["agent.zip", "current.zip", "new.zip"]


def test_a_file_converted_in_place_keeps_the_old_one(old, current):
    before = old.read_bytes()
    assert convert_file(old) == old
    assert old.read_bytes() == current.read_bytes()
    assert old.with_name("agent.zip.v1").read_bytes() == before


@pytest.mark.parametrize("method", METHODS_BY_KIND.values())
def test_every_kind_of_policy_converts(method, tmp_path):
    agents.save(tmp_path / "current.zip", trained(method), ENV, WORLD, method)
    forging.write_old(tmp_path / "agent.zip", tmp_path / "current.zip")
    main(tmp_path / "agent.zip", tmp_path / "new.zip", memory=2**40)
    assert (tmp_path / "new.zip").read_bytes() == (tmp_path / "current.zip").read_bytes()


@pytest.mark.usefixtures("in_process")
def test_the_network_of_an_old_file_gets_the_entries_that_save_writes(current, tmp_path):
    entry = forging.manifest(current)["network"]
    old = {name: entry[name] for name in ("widths", "activation", "level", "precision")} | {"gated": True}
    forging.write_old(tmp_path / "agent.zip", current, network=old)
    convert_file(tmp_path / "agent.zip", tmp_path / "new.zip")
    assert (tmp_path / "new.zip").read_bytes() == current.read_bytes()


def test_the_infinite_bounds_of_an_old_file_survive(current, tmp_path):
    bounds = {"low": [[0.0], [-math.inf]], "high": [[math.inf], [1.0]]}
    space = {"kind": "Box", "shape": [2, 1], "dtype": "float32", **bounds}
    policy = agents.load(current).policy
    tensors = {
        name: value[:, :2].contiguous() if value.ndim == 2 and value.shape[1] == 20 else value
        for name, value in policy.state_dict().items()
    }
    forging.write_old(tmp_path / "agent.zip", current, tensors, observation_space=space)
    main(tmp_path / "agent.zip", tmp_path / "new.zip", memory=2**40)
    low, high = (np.array(bounds[name], np.float32) for name in ("low", "high"))
    assert agents.load(tmp_path / "new.zip").policy.observation_space == Box(low, high)


@pytest.mark.parametrize("taken", ["new.zip", "agent.zip.v1"])
def test_no_file_is_overwritten(taken, old, tmp_path):
    (tmp_path / taken).write_text("mine")
    with pytest.raises(FileExistsError, match=f"{taken} exists"):
        convert_file(old, tmp_path / "new.zip" if taken == "new.zip" else None)
    assert (tmp_path / taken).read_text() == "mine"


def test_a_pipe_is_refused_and_not_read(tmp_path, capsys):
    os.mkfifo(tmp_path / "agent.zip")
    with pytest.raises(SystemExit):
        main(tmp_path / "agent.zip", tmp_path / "new.zip", memory=2**40)
    assert "not a regular file" in capsys.readouterr().out


def test_a_current_file_is_not_converted(current, capsys):
    with pytest.raises(SystemExit):
        main(current, current.with_name("new.zip"), memory=2**40)
    assert "has format 2 already; there is nothing to convert" in capsys.readouterr().out


def inflating(size: int) -> bytes:
    """PyTorch's archive of zeros, whose record is compressed a thousandfold."""
    archive = forging.torch_archive({NETWORK: torch.zeros(1)})
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as before, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as after:
        for record in before.namelist():
            after.writestr(record, bytes(size) if record.endswith("data/0") else before.read(record))
    return packed.getvalue()


def test_a_file_that_expands_beyond_the_memory_limit_is_refused(current, tmp_path):
    weights = inflating(2**26)
    assert len(weights) < 2**19
    forging.write_old(tmp_path / "agent.zip", current, weights)
    with pytest.raises(BadAgentError, match="reading it needs more than 32 MiB of memory"):
        convert_file(tmp_path / "agent.zip", memory=2**25)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["agent.zip", "current.zip"]


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        SystemError("error return without exception set"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_every_exception_of_a_failed_allocation_is_told_as_one(old, error, monkeypatch, capsys):
    def fail(*paths):
        raise error

    monkeypatch.setattr("agents.saving.convert._rewrite", fail)
    with pytest.raises(SystemExit):
        main(old, old.with_name("new.zip"), memory=2**40)
    assert "reading it needs more than 1048576 MiB of memory" in capsys.readouterr().out


def test_a_child_process_that_is_killed_gives_one_line(old, monkeypatch):
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(BadAgentError, match=r"reading it ended the process that read it \(exit code 1\)"):
        convert_file(old)
    assert not old.with_name("agent.zip.v1").exists()


def test_a_child_process_that_takes_too_long_is_ended(old, monkeypatch):
    monkeypatch.setattr("agents.saving.convert.SECONDS", 0.05)
    with pytest.raises(BadAgentError, match=r"longer than 0.05 s"):
        convert_file(old)
    assert not old.with_name("agent.zip.v1").exists()


def with_tensor(value):
    """The weights of a good file with another value for one tensor."""
    return lambda tensors: {**tensors, NETWORK: value}


OTHER_SHAPE = r"mlp_extractor.experts.retain.0.weight is .*; in the network it is F32 \[8, 20\]"
BAD = {  # name -> change of the tensors, part of the message
    "a meta tensor": (with_tensor(torch.zeros(8, 20, device="meta")), "not dense tensors"),
    "a stretched tensor": (with_tensor(torch.zeros(1).expand(8, 20)), "not dense tensors"),
    "a sparse tensor": (with_tensor(torch.zeros(8, 20).to_sparse()), "not dense tensors"),
    "a parameter": (with_tensor(torch.nn.Parameter(torch.zeros(8, 20))), "not dense tensors"),
    "a complex tensor": (with_tensor(torch.zeros(8, 20, dtype=torch.complex64)), OTHER_SHAPE),
    "a tensor of another type": (with_tensor(torch.zeros(8, 20, dtype=torch.float64)), OTHER_SHAPE),
    "a tensor of another shape": (with_tensor(torch.zeros(8, 21)), OTHER_SHAPE),
    "a string": (with_tensor("x"), "not dense tensors"),
    "another tensor": (lambda tensors: {**tensors, "x": torch.zeros(1)}, "the network has no tensor 'x'"),
    "a key that is a number": (lambda tensors: {**tensors, 5: torch.zeros(1)}, "not a dictionary of tensors by name"),
    "no tensors": (lambda tensors: {}, "is missing"),
    "text": (lambda tensors: b"text", "agent.zip is not a keyhole agent file"),
    "half an archive": (lambda tensors: forging.torch_archive(tensors)[:4000], "agent.zip is not a keyhole agent file"),
    "a plain pickle": (lambda tensors: pickle.dumps({"x": 1}), "not dense tensors|UnpicklingError"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_bad_old_file_is_refused_with_one_line(case, current, tmp_path, capsys):
    change, message = BAD[case]
    forging.write_old(tmp_path / "agent.zip", current, change(agents.load(current).policy.state_dict()))
    with pytest.raises(SystemExit) as end:
        main(tmp_path / "agent.zip", tmp_path / "new.zip", memory=2**40)
    (line,) = capsys.readouterr().out.splitlines()
    assert end.value.code == 3
    assert line.isprintable()
    assert re.search(message, line), line
    assert not (tmp_path / "new.zip").exists()


@pytest.mark.parametrize("save", [pickle.dumps, lambda malice: forging.torch_archive({"value_net.bias": malice})])
def test_a_pickle_with_code_inside_is_not_run(save, current, tmp_path, capsys):
    mark = tmp_path / "executed"
    forging.write_old(tmp_path / "agent.zip", current, save(Malice(mark)))
    with pytest.raises(SystemExit):
        main(tmp_path / "agent.zip", tmp_path / "new.zip", memory=2**40)
    assert "UnpicklingError" in capsys.readouterr().out
    assert not mark.exists()


def test_an_old_manifest_is_checked_as_a_current_one(current, tmp_path, capsys):
    forging.write_old(tmp_path / "agent.zip", current, deployments=[["retain", [math.nan, 1e308]]])
    with pytest.raises(SystemExit):
        main(tmp_path / "agent.zip", tmp_path / "new.zip", memory=2**40)
    assert "a coefficient of rule 'retain' is nan" in capsys.readouterr().out


def test_the_limit_of_memory_ends_with_its_block():
    resource = pytest.importorskip("resource")
    from agents.saving.memory_limit import limited_memory

    before = resource.getrlimit(resource.RLIMIT_AS)
    with limited_memory(2**27), pytest.raises(MemoryError):
        bytearray(2**28)
    assert resource.getrlimit(resource.RLIMIT_AS) == before
    assert len(bytearray(2**28)) == 2**28


@pytest.mark.usefixtures("in_process")
def test_a_conversion_in_place_that_fails_leaves_the_old_file_alone(old, tmp_path, monkeypatch):
    before = old.read_bytes()
    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        convert_file(old)
    assert old.read_bytes() == before
    assert sorted(file.name for file in tmp_path.iterdir()) == ["agent.zip", "current.zip"]
