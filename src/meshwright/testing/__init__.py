"""A running mesh for tests in Python: what the fixtures of `meshwright.pytest_plugin` give, for annotations.

The one rule: the words are those of files of tests (`trials.written`), and mean the same.
"""

from meshwright.testing.answers import Answer, Answers
from meshwright.testing.mesh import Mesh
from meshwright.testing.sending import Send
from meshwright.testing.words import Expected, Fault

__all__ = ["Answer", "Answers", "Expected", "Fault", "Mesh", "Send"]
