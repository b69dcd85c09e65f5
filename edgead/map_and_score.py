"""What a model says of one image, whichever program runs it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class MapAndScore(NamedTuple):
    """The anomaly map, float32 h w at any resolution, and the score; higher is more anomalous."""

    anomaly_map: NDArray[np.float32]
    score: float
