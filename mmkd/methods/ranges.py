"""What equal tuning (`--tune`) tries of options that many methods have, and the rule for those that one method has.

What is tuned are the options of the loss: temperatures, weights, warm-ups, margins; never the student's training. A
range of a weight reaches from where the gradient of its term on the student is about a tenth of that of cross-entropy
to where it is about ten times that, by the scales that experiments/results/method-scale.md lists (a weight multiplies
them), and always holds the published default. Where a published weight is beyond these borders, the range ends shortly
behind it. Architecture-like options (widths, which branch is compared), of which a paper has one form, are not tuned.
"""

from mmkd.core.ranges import Range

TEMPERATURE_RANGE = Range(1, 10, log=True)
"""Of softmax at T: at 1 the probabilities as they are; above 10 the order of unlikely classes is all that is left, and
T^2 KL no longer changes (it is half the mean squared error of centred logits, over K)."""
SHARE_RANGE = Range(0.1, 0.95)
"""Of the share l of soft targets beside 1 - l of cross-entropy: their ratio, 1/9 to 19. At 1 no label would be read."""
WARMUP_RANGE = Range(0, 0.5)
"""Of the share of the epochs over which a term ramps up: at once, to half of the training."""
