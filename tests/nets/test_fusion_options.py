"""`--fusion NAME:OPTION=VALUE`: the grammar, one text a choice, and what is refused."""

from dataclasses import dataclass

import pytest
import torch
from torch import nn

from mmkd.core.errors import MmkdError
from mmkd.core.options import Options, option
from mmkd.methods.outputs import Outputs
from mmkd.nets import FUSIONS, STAGE_FUSIONS, build_dense, build_student, canonical_fusion, check_dense_fusion
from mmkd.nets.filter_banks import BandGates, ContinuousGain
from mmkd.nets.freqfusion import FreqFusion
from mmkd.nets.fusion_options import chosen_fusion, described_options
from mmkd.specs.fusion_names import kind_of_fusion

TEXTS = {  # as written -> the one text
    "sum": "sum",
    "freqfusion": "freqfusion",
    "freqfusion:kernels=5": "freqfusion",
    "freqfusion:bands=2": "freqfusion",
    "freqfusion:bands=2:kernels=5:gates=fixed": "freqfusion",
    "freqfusion:kernels=7-3-5": "freqfusion:kernels=3-5-7",
    "freqfusion:kernels=03-5": "freqfusion:kernels=3-5",
    "freqfusion:bands=3:kernels=7": "freqfusion:kernels=7:bands=3",
    "freqfusion:bands=4:gates=learned": "freqfusion:bands=4",
    "freqfusion:gates=learned": "freqfusion:gates=learned",
    "freqfusion:bands=continuous": "freqfusion:bands=continuous",
    "dwt-attention:bands=3": "dwt-attention:bands=3",
}
WRONG = {
    "freqfuson:bands=3": "unknown .*fusion 'freqfuson'; did you mean 'freqfusion'",
    "sum:bands=3": "--fusion 'sum:bands=3': sum has no options; leave out what follows it",
    "carafe:kernels=3-5": "carafe has no options",
    "freqfusion:": "write NAME or NAME:OPTION=VALUE, such as freqfusion:bands=3",
    "freqfusion:bands": "write NAME or NAME:OPTION=VALUE",
    "freqfusion:bands=": "write NAME or NAME:OPTION=VALUE",
    "freqfusion:=3": "write NAME or NAME:OPTION=VALUE",
    "freqfusion::bands=3": "write NAME or NAME:OPTION=VALUE",
    "freqfusion:bands=3:bands=4": "bands is given twice",
    "freqfusion:band=3": "has no option 'band'; did you mean 'bands'.*its options: kernels, bands, gates",
    "freqfusion:bands=5": "bands = '5' is not one of 2, 3, 4, continuous",
    "freqfusion:bands=3.0": "bands = '3.0' is not one of",
    "freqfusion:kernels=3-x": "kernels = 'x' is not a number",
    "freqfusion:kernels=3.5": "kernels = '3.5' is not a whole number",
    "freqfusion:kernels=4": "kernels = 4: take odd sizes from 3 to 15",
    "freqfusion:kernels=-3": "kernels = '' is not a number",
    "5": "--fusion '5': a comma begins another fusion; join values by -, as in kernels=3-5-7",
    "freqfusion:kernels=3-3": "kernels = 3-3: a size is named twice",
    "freqfusion:kernels=3-5:bands=3": "kernels = 3-5: bands with learned gates have sizes of their own",
    "freqfusion:gates=fixed:bands=3": "gates = fixed: only two bands",
}


@pytest.mark.parametrize("registry", [FUSIONS, STAGE_FUSIONS], ids=["branches", "stages"])
def test_a_choice_has_one_text(registry: object) -> None:
    for text, expected in TEXTS.items():
        assert canonical_fusion(registry, text) == expected
        assert canonical_fusion(registry, expected) == expected
        assert chosen_fusion(registry, text) == chosen_fusion(registry, expected)
        assert kind_of_fusion(text) in registry


@pytest.mark.parametrize("text", WRONG)
def test_what_is_no_choice_is_refused_in_one_line(text: str) -> None:
    for refuse in (
        lambda: canonical_fusion(FUSIONS, text),
        lambda: canonical_fusion(STAGE_FUSIONS, text),
        lambda: check_dense_fusion("unet-small", text),
        lambda: build_dense("unet-small", (2, 64), 3, text),
        lambda: build_student("small", {"sig": (1, 32), "gaf": (1, 16, 16)}, 3, text),
    ):
        with pytest.raises(MmkdError, match=WRONG[text]) as error:
            refuse()
        assert "\n" not in str(error.value)


def test_branches_and_stages_get_what_is_named() -> None:
    student = build_student("small", {"sig": (1, 32), "gaf": (1, 16, 16)}, 3, "freqfusion:bands=3")
    operators = [m for m in student.modules() if isinstance(m, FreqFusion)]
    assert [type(each.sharpen) for each in operators] == [BandGates]
    assert operators[0].options.bands == 3
    views = {"sig": torch.randn(2, 1, 32), "gaf": torch.randn(2, 1, 16, 16)}
    student(views).logits.square().sum().backward()
    assert operators[0].sharpen.gates.weight.grad.abs().max() > 0
    net = build_dense("unet-small", (2, 64), 3, "dsconv:bands=continuous")
    operators = [m for m in net.modules() if isinstance(m, FreqFusion)]
    assert len(operators) == 4
    assert {type(each.sharpen) for each in operators} == {ContinuousGain}
    compressed = {each.compress_high.out_channels for each in operators}
    assert compressed == {8}  # as without options


def test_a_fusion_of_a_plugin_may_have_options() -> None:
    @dataclass(frozen=True)
    class MineOptions(Options):
        half_life: float = option(2.0, "how long", gt=0)
        sides: tuple[int, ...] = option((1,), "which sides")
        loud: bool = option(False, "how")

    class Mine(nn.Module):
        Config = MineOptions

        def __init__(self, dry, classes, half_life, sides, loud):
            super().__init__()
            self.given = (half_life, sides, loud)
            self.classes = classes

        def forward(self, branches):
            first = next(iter(branches.values()))
            return Outputs(first.logits * self.given[0], first.embedding)

    class Bare(nn.Module):
        Config = None

        def __init__(self, dry, classes):
            super().__init__()

    FUSIONS.register("mine")(Mine)
    FUSIONS.register("bare")(Bare)
    try:
        text = "mine:loud=yes:half-life=3:sides=4-5"
        assert canonical_fusion(FUSIONS, text) == "mine:half-life=3.0:sides=4-5:loud=true"
        assert canonical_fusion(FUSIONS, "mine:half_life=2:sides=1:loud=no") == "mine"
        shapes = {"sig": (1, 32), "s2": (1, 32)}
        assert build_student("small", shapes, 3, text).fusion.given == (3.0, (4, 5), True)
        assert build_student("small", shapes, 3, "mine").fusion.given == (2.0, (1,), False)
        assert described_options("mine", Mine).startswith(" --fusion mine:OPTION=VALUE: half-life=2.0 (how long)")
        with pytest.raises(MmkdError, match=r"half-life = 0\.0 must be > 0"):
            canonical_fusion(FUSIONS, "mine:half-life=0")
        with pytest.raises(MmkdError, match="bare has no options; leave out what follows it"):
            canonical_fusion(FUSIONS, "bare:sides=4")
        assert canonical_fusion(FUSIONS, "bare") == "bare"
        assert described_options("bare", Bare) == ""
    finally:
        FUSIONS.unregister("mine")
        FUSIONS.unregister("bare")
