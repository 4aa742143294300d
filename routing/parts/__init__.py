"""Parts of arms: a package for each kind whose parts are long, a module for each of the others.

Importing this package imports, and thereby registers, every part.
"""

import importlib
import pkgutil

for _module in pkgutil.walk_packages(__path__, f"{__name__}."):
    importlib.import_module(_module.name)
