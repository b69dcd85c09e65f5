"""How edgead and its extras are installed, said in one place for every message.

edgead is not on the package index yet: an extra is installed from a clone of the repository. The day it is
published, `ON_THE_INDEX` becomes true and every message follows.
"""

from __future__ import annotations

ON_THE_INDEX = False


def how_to_install(extra: str = "") -> str:
    """The command that installs edgead with an extra ("train", "openvino", ...)."""
    wanted = f"[{extra}]" if extra else ""
    if ON_THE_INDEX:
        return f"pip install 'edgead{wanted}'"
    return f"pip install '.{wanted}' (in a clone of edgead)"
