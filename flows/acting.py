"""Models registered before flows.tracking.pyfunc existed name this module as their loader."""

from flows.tracking.pyfunc import _load_pyfunc as _load_pyfunc
