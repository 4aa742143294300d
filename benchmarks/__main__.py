"""The benchmark runs in the surroundings of a training process: one thread, and memory that is kept.

Both are settled before a process starts, so where they are not it starts itself once more.
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
