"""What really happens in a mesh, as its proxies report it: who calls whom, how often, with what errors, how fast."""

from meshwright.observe.baselines import Baselines
from meshwright.observe.comparison import compared
from meshwright.observe.counting import Counts
from meshwright.observe.latency import Latency
from meshwright.observe.traffic import Load, Traffic
from meshwright.observe.watching import Watch

__all__ = ["Baselines", "Counts", "Latency", "Load", "Traffic", "Watch", "compared"]
