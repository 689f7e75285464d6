"""What the benchmark is about: the group `all` of defenses, in one place.

Each purifier stands on the naturally trained classifier, as the papers have it; `smoothing` on the
one that was trained on its noise. The add-ons of AID-Purifier stand on adversarial training too.
"""

from __future__ import annotations

ALL = (
    *("adp", "scoreopt-o", "scoreopt-n", "aid", "pixeldefend"),
    *("diffpure", "gdmp", "gradual", "langevin", "denoise", "smoothing@noisy"),
    *("pixeldefend@madry", "aid@madry", "pixeldefend+aid@madry"),
)
"""Controls and the bare classifiers are added to every run, and are not named here."""
GROUPS = {"all": ALL}
