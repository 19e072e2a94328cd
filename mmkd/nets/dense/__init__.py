"""Networks that give a label for every position, of signals (B, C, T) and of images (B, C, H, W).

All give logits at the input's full resolution, the features `encoder1..n` (shallow to deep) and `decoder1..m`, the mean
over positions of the deepest encoder map as embedding, and as `classifier` the weight of a last 1x1 convolution that
reads the last decoder map (its logits are then interpolated; class activation maps stay at the map's resolution).

Those whose decoder joins a coarser with a finer map take `fusion`, a name of `mmkd.nets.STAGE_FUSIONS`, and then join
maps of sizes 2 : 1 (rounded up) by it; without one they join them as published.
"""

from mmkd.nets.dense import fast_scnn, mamba, segformer, unet

__all__ = ["fast_scnn", "mamba", "segformer", "unet"]
