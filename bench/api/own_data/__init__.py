"""Data sets of one's own, each declared in a few lines: a folder, a file of arrays, a library's.

    DATA = from_folder("mine", "images", threat="linf:8/255")


    @dataset("mine", info=DATA.info)
    def mine() -> Dataset:
        return DATA

What all have in common is said in `bench.api.own_data.dealt`.
"""

from bench.api.own_data.arrays import from_npz
from bench.api.own_data.folder import from_folder
from bench.api.own_data.libraries import from_huggingface, from_torchvision

__all__ = ["from_folder", "from_huggingface", "from_npz", "from_torchvision"]
