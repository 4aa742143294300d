"""How a benchmark is timed, compared and drawn; the subjects are the files beside this package."""
