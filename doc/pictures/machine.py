"""A machine with three layers, and what a layer sees."""

from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np

LAYERS = [("visible $v$", 6), ("hidden $h_1$", 5), ("hidden $h_2$", 4)]
COLOURS = ["#4c72b0", "#dd8452", "#dd8452"]

figure, ax = plt.subplots(figsize=(6.4, 3.4), layout="constrained")
places = [np.arange(size) - (size - 1) / 2 for _, size in LAYERS]
for height, (below, above) in enumerate(pairwise(places)):
    for x in below:
        for z in above:
            ax.plot([x, z], [height, height + 1], color="0.7", linewidth=0.8, zorder=1)
    ax.text(3.2, height + 0.5, f"$W_{height}$", va="center", fontsize=12, color="0.35")
for height, ((name, _), xs, colour) in enumerate(
    zip(LAYERS, places, COLOURS, strict=True)
):
    heights = np.full(len(xs), height)
    ax.scatter(xs, heights, s=320, color=colour, edgecolor="white", zorder=2)
    ax.text(-3.2, height, name, ha="right", va="center", fontsize=12)
ax.set(xlim=(-5.2, 4), ylim=(-0.35, 2.35))
ax.set_axis_off()
