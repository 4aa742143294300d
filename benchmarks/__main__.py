"""Run the benchmark with the environment of a training process: one thread, and an allocator that keeps its memory.

Libraries read these variables when the process starts, so the process replaces itself once if they were not set.
"""

import os
import sys

from flows import process_env

if __name__ == "__main__":
    before = dict(os.environ)
    process_env.use_one_thread()
    if dict(os.environ) != before:
        os.execv(sys.executable, [sys.executable, "-m", "benchmarks", *sys.argv[1:]])
    from benchmarks.command import main

    main(prog_name="python -m benchmarks")
