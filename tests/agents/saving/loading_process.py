"""A process that loads agent files: a path a line on stdin, an outcome in JSON a line on stdout.

Its memory is bounded, and it reports the peak, which no other test has moved.
"""

import hashlib
import json
import re
import sys
import warnings
from pathlib import Path
from typing import Any

import agents
from agents.saving.memory_limit import limited_memory

MEMORY = 2**30  # bytes that loading may allocate


def digest(agent: agents.Agent) -> str:
    """Hash of all that determines a policy's actions."""
    policy = agent.policy
    found = hashlib.sha256(repr((policy.activation_fn, policy.architecture, policy.precision)).encode())
    for name, value in policy.state_dict().items():
        found.update(name.encode() + value.numpy().tobytes())
    return found.hexdigest()


def outcome(path: str) -> dict[str, Any]:
    """How loading a file ends."""
    try:
        return {"policy": digest(agents.load(path))}
    except (agents.BadAgentError, OSError) as error:
        return {"refused": str(error)}
    except BaseException as error:
        return {"raised": repr(error)}


def peak() -> float:
    """Largest resident memory of this process so far, in MiB."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found.group(1)) / 1024 if found else 0.0


if __name__ == "__main__":
    warnings.simplefilter("error")
    with limited_memory(MEMORY):
        for line in sys.stdin:
            print(json.dumps({**outcome(json.loads(line)), "peak": peak()}), flush=True)
