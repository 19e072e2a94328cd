"""Dense networks: they label every position of signals (B, C, T) or images (B, C, H, W).

All of them return logits at the resolution of the input; the features `encoder1..n`, from shallow to deep, and
`decoder1..m`; the mean over positions of the deepest encoder map as embedding; and as `classifier` the weight of a last
1x1 convolution, which reads the last decoder map. Its logits are interpolated to the input's resolution; class
activation maps keep that of the decoder map.

Networks whose decoder joins a coarse with a fine map accept `fusion`, a name in `mmkd.nets.STAGE_FUSIONS`, which then
joins maps of sizes 2 : 1 (rounded up). Without it they join the maps as published.
"""

from mmkd.nets.dense import fast_scnn, mamba, segformer, segnext, unet

__all__ = ["fast_scnn", "mamba", "segformer", "segnext", "unet"]
