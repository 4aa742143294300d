"""A damaged or forged file loads as the agent that was saved, or is refused with one line; memory stays below 1 GiB.

FUZZ_EXAMPLES=10000 tries more files than the default.
"""

import io
import json
import os
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

import agents
from tests.agents.saving import forging, loading_process
from tests.agents.saving.forging import MANIFEST, WEIGHTS

ROOT = Path(__file__).parents[3]
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "400"))
PEAK = 1024  # MiB
ENV, WORLD = "envs:keyhole/DiamondGhost-v0", {"size": 2, "oversight_prob": 0.3}
Load = Callable[[Path], dict[str, Any]]
pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak of memory from /proc")


@pytest.fixture(scope="module")
def load() -> Iterator[Load]:
    """Loads a file in another process; returns the outcome."""
    command = [sys.executable, "-m", "tests.agents.saving.loading_process"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout

        def loaded(path: Path) -> dict[str, Any]:
            process.stdin.write(json.dumps(str(path)) + "\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline() or '{"raised": "the process died", "peak": 0}')

        yield loaded
        process.stdin.close()


def saved(path: Path, method: str, width: int) -> Path:
    policy = agents.build(agents.make_vec_env(ENV, 8, **WORLD), method, 0, n_steps=8, width=width).policy
    agents.save(path, policy, ENV, WORLD, method, seed=7, note="text", curve=[0.5, None, True])
    return path


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> Path:
    return saved(tmp_path_factory.mktemp("good") / "agent.zip", "gradient_routing", 8)


@pytest.fixture(scope="module")
def other(tmp_path_factory) -> Path:
    """Another agent, with another network."""
    return saved(tmp_path_factory.mktemp("other") / "agent.zip", "naive", 4)


WORDS = ["", "nan", "inf", "-inf", "Box", "Dict", "os.system", "../x", "\x1b[2J\n", "\ud800", "x" * 20_000, "adapter"]
NUMBERS = [0, 1, -1, 2, 5, 2**16, 2**22, 2**31, 2**63, 10**9, 10**30, -(2**63), 0.5, 1e308, 1e-320, -1.5]
NASTY: list[Any] = [
    *WORDS,
    *NUMBERS,
    *(float(word) for word in ("nan", "inf", "-inf")),
    *(None, True, False, [], {}, [[]], [None], [1e308, "nan"], [1, 2, 3], {"kind": "Box"}, [10**6] * 3, [1] * 1000),
    *({"id": "x"}, {"num_envs": 10**9}, {"wrappers": []}, {"vectorization_mode": "async"}, {"oversight_prob": 2}),
]
SNIPPETS = [
    b"",
    b",",
    b"{",
    b"]",
    b'"',
    b"NaN",
    b"-Infinity",
    b"1e999",
    b"0" * 20,
    b"9" * 5000,
    b"[" * 3000,
    b"\xff",
    b"\x00",
]


def places(value: Any) -> list[tuple]:
    """The keys that lead to every value in nested lists and dictionaries."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [(), *((key, *rest) for key, item in inner for rest in places(item))]


@st.composite
def changed_json(draw, value: Any) -> Any:
    """The value with a few entries replaced, removed or added."""
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.sampled_from(places(value)))
        new = draw(st.sampled_from(NASTY))
        found = value
        for key in place:
            found = found[key]
        if isinstance(found, dict) and draw(st.booleans()):
            new = {**found, draw(st.sampled_from([*WORDS, *found])): new}
        elif isinstance(found, dict | list) and found and draw(st.booleans()):
            gone = draw(st.sampled_from(list(found) if isinstance(found, dict) else range(len(found))))
            pairs = found.items() if isinstance(found, dict) else enumerate(found)
            rest = {key: item for key, item in pairs if key != gone}
            new = rest if isinstance(found, dict) else list(rest.values())
        value = forging.replaced(value, place, new)
    return value


@st.composite
def changed_bytes(draw, content: bytes, foreign: bytes) -> bytes:
    """The content with a few bytes flipped, cut, inserted, exchanged or taken from another file."""
    for _ in range(draw(st.integers(1, 4))):
        size = max(len(content), 1)
        start, stop = sorted(draw(st.integers(0, size)) for _ in range(2))
        stop = draw(st.sampled_from([start + 1, start + 4, stop]))
        middle = content[start:stop]
        new = draw(
            st.sampled_from([b"", middle * 2, foreign[start:stop], content[stop : 2 * stop - start], middle[::-1]])
            | st.binary(min_size=len(middle), max_size=len(middle))
            | st.sampled_from(SNIPPETS)
            if len(middle) <= 64
            else st.sampled_from([b"", middle * 2, foreign[start:stop], middle[::-1], middle[1:]])
        )
        content = content[:start] + new + content[stop:]
    return content


def zipped(content: list[tuple[str, bytes]], compression: int) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", compression) as file:
        for name, data in content:
            file.writestr(name, data)
    return packed.getvalue()


@st.composite
def spliced(draw, good: Path, other: Path) -> bytes:
    """An archive of members of two files, under true and false names."""
    sources = [*forging.members(good).items(), *forging.members(other).items(), ("x", b""), ("x", good.read_bytes())]
    names = st.sampled_from([MANIFEST, WEIGHTS, "weights.pt", "../x", "/x", "x/", "\n"])
    own = draw(st.booleans())
    chosen = [
        (name if own else draw(names), content)
        for name, content in draw(st.lists(st.sampled_from(sources), min_size=1, max_size=4))
    ]
    return zipped(chosen, draw(st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])))


@st.composite
def forged(draw, path: Path, good: Path, foreign: bytes) -> bytes:
    """A complete archive with the hash of its weights, and a changed manifest or header of the weights."""
    weights, path_bytes = forging.members(good)[WEIGHTS], good.read_bytes()
    path.write_bytes(path_bytes)
    header, numbers = forging.split_weights(weights)
    kind = draw(st.sampled_from(["manifest", "text", "header", "header text", "length", "numbers"]))
    event(f"forged {kind}")
    if kind == "manifest":
        manifest = draw(changed_json(forging.manifest(good)))
        text = json.dumps(manifest).encode(errors="surrogatepass")
        forging.pack(path, {MANIFEST: text, WEIGHTS: weights})
    elif kind == "text":
        text = draw(changed_bytes(forging.members(good)[MANIFEST], foreign))
        forging.pack(path, {MANIFEST: text, WEIGHTS: weights})
    elif kind == "header":
        forging.forge(path, forging.join_weights(draw(changed_json(header)), numbers))
    elif kind == "header text":
        text = draw(changed_bytes(weights[8 : len(weights) - len(numbers)], foreign))
        forging.forge(path, forging.join_weights(text, numbers))
    elif kind == "length":
        length = draw(st.integers(0, 2**64 - 1) | st.integers(0, len(weights) + 10) | st.sampled_from([2**20, 2**63]))
        forging.forge(path, length.to_bytes(8, "little") + weights[8:])
    else:
        size = draw(st.integers(0, len(numbers)))
        forging.forge(
            path, forging.join_weights(header, draw(st.sampled_from([numbers[:size], numbers + bytes(size)])))
        )
    return path.read_bytes()


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_any_damaged_file_loads_as_the_saved_agent_or_is_refused_with_one_line(good, other, load, tmp_path):
    whole = [loading_process.digest(agents.load(file)) for file in (good, other)]  # a splice may be the other file
    foreign, path = other.read_bytes(), tmp_path / "agent.zip"
    forgeries = forged(path, good, foreign)
    counts: Counter[str] = Counter()
    peak = 0.0

    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(content=st.one_of(forgeries, forgeries, spliced(good, other), changed_bytes(good.read_bytes(), foreign)))
    def check(content: bytes) -> None:
        nonlocal peak
        path.write_bytes(content)
        found = load(path)
        peak = max(peak, found["peak"])
        counts[next(iter(found))] += 1
        assert "raised" not in found, found["raised"]
        assert found["peak"] < PEAK
        if "policy" in found:
            assert found["policy"] in whole
        else:
            assert found["refused"].isprintable()
            assert str(path) in found["refused"]
            assert len(found["refused"]) < 1000

    check()
    print(f"\n{sum(counts.values())} files: {dict(counts)}; peak {peak:.0f} MiB")
    assert counts["refused"] > counts["policy"] > 0


def test_the_process_reports_the_policy_the_peak_and_unexpected_exceptions(good, load):
    found = load(good)
    assert found["policy"] == loading_process.digest(agents.load(good))
    assert 100 < found["peak"] < PEAK
    assert "embedded null" in load(Path("\0"))["raised"]


LARGE = {  # entries of a manifest of almost 4 MiB
    "lists": {"facts": {"lists": [[]] * 1_000_000}},
    "dictionaries": {"facts": {"dictionaries": [{"": 0}] * 500_000}},
    "a MultiDiscrete": {"observation_space": {"kind": "MultiDiscrete", "nvec": [1] * 1_300_000}},
    "a box of 4 million entries": {
        "observation_space": {"kind": "Box", "shape": [2**22], "dtype": "float64", "low": "-inf", "high": "inf"}
    },
}


@pytest.mark.parametrize("case", LARGE)
def test_a_manifest_that_takes_as_much_memory_as_it_can_takes_less_than_a_gibibyte(case, good, load, tmp_path):
    path = tmp_path / "agent.zip"
    path.write_bytes(good.read_bytes())
    forging.forge(path, text=lambda text: text.replace(" ", ""), **LARGE[case])
    found = load(path)
    assert "raised" not in found, found["raised"]
    assert "is larger than" not in found.get("refused", "")  # the manifest is read
    assert found["peak"] < PEAK
