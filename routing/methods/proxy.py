"""No oversight: the proxy reward trains the whole policy. The baseline for every oversight level."""

from routing.oversight.registry import method

method("proxy", "The proxy reward only; verdicts are not read.")
