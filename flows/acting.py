"""Loader module named by models that were registered before flows.tracking.pyfunc existed."""

from flows.tracking.pyfunc import _load_pyfunc as _load_pyfunc
