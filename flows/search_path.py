"""The module search path of every process that runs user code: the current folder comes last.

A user's modules are found in the current folder, in folders of PYTHONPATH and among the installed distributions.
`python -m flows` and Ray put the current folder first, where a user's own `envs/` would replace ours.
"""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

PACKAGES = ("agents", "envs", "flows", "routing")
OWN_FOLDER = str(Path(__file__).resolve().parents[1])  # of our packages


def use_current_folder() -> str:
    """Make modules of the current folder importable here and in processes that start later; return the folder.

    Python puts no folder of its own first in the processes that start later.
    """
    folder = os.getcwd()
    if folder != OWN_FOLDER:
        os.environ.setdefault("PYTHONSAFEPATH", "1")
    append_folder(folder, is_first=not sys.flags.safe_path)
    return folder


def undo_prefects_order() -> None:
    """Put the current folder last in a process that Prefect starts for a flow run: it comes first while flows load."""
    program = getattr(sys.modules.get("__main__"), "__spec__", None)
    if program is not None and program.name.startswith("prefect."):
        append_folder(os.getcwd(), is_first=True)


def append_folder(folder: str, is_first: bool = False) -> None:
    """Append a folder to the search path, unless it is on it.

    Args:
        folder: the folder. Our own stays where it is.
        is_first: whether Python or Ray may have put the folder first, from where it is removed.
    """
    if folder == OWN_FOLDER:
        return
    if is_first and sys.path and sys.path[0] in ("", folder):
        del sys.path[0]
    for entry in (OWN_FOLDER, folder):  # an editable install finds our packages last, after every folder
        if entry not in sys.path:
            sys.path.append(entry)


def hidden_package() -> str:
    """Describe the first of our packages whose name another package has that comes first; empty if there is none."""
    for package in PACKAGES:
        spec = find_spec(package)
        places = [*(spec.submodule_search_locations or ()), spec.origin] if spec else []
        found = places[0] if places else None
        if found is None or Path(found).resolve().parent != Path(OWN_FOLDER):
            line = f"keyhole's package {package} is hidden by {found}"
            return f"{line}; rename that, or take its folder off PYTHONPATH"
    return ""


def hidden_by_ours(error: BaseException) -> str:
    """Explain an import that failed because a package of ours hides one of the current folder; empty for any other."""
    name = (getattr(error, "name", None) or "").partition(".")[0] if isinstance(error, ImportError) else ""
    if name not in PACKAGES or not any(os.path.exists(path) for path in (name, f"{name}.py")):
        return ""
    return f"; keyhole's own package {name} hides yours: rename yours"
