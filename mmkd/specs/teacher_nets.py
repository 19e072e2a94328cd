"""Teachers that are no single network: ensembles and peers; and whose windows the targets of a student come from."""

from collections.abc import Iterable

from mmkd.core.errors import MmkdError
from mmkd.core.text import shown

MEMBERS = 3
MOST_MEMBERS = 20
FOLDS = 5
PEER_NETS = ("random-forest", "minirocket")
"""Peers that may teach; `mmkd.peers` has them."""


def canonical_net(text: str, usual: str) -> str:
    """The network of a teacher as specs name it: of an ensemble with the number of its members and their network.

    Args:
        text: as the user wrote it.
        usual: the network of the preset.

    Raises:
        MmkdError: the name of an ensemble is malformed.

    >>> canonical_net("ensemble", "WRN16-1"), canonical_net("ensemble:5:small", "WRN16-1")
    ('ensemble:3:WRN16-1', 'ensemble:5:small')
    """
    kind, *rest = text.split(":")
    if kind != "ensemble":
        return text
    number = rest[0] if rest else str(MEMBERS)
    net = rest[1] if len(rest) > 1 else usual
    fits = len(rest) <= 2 and number.isdecimal() and len(number) < 4 and net and kind_of_net(net) == "network"
    if not fits or not 2 <= int(number) <= MOST_MEMBERS:
        raise MmkdError(
            f"--teacher-net {shown(text)}: write ensemble, ensemble:N or ensemble:N:NET, N from 2 to {MOST_MEMBERS}"
        )
    return f"ensemble:{int(number)}:{net}"


def kind_of_net(net: str) -> str:
    """What a teacher is: an "ensemble", a "peer" or a "network"."""
    if net in PEER_NETS:
        return "peer"
    return "ensemble" if str(net).partition(":")[0] == "ensemble" else "network"  # a damaged record holds anything


def ensemble_parts(net: str) -> tuple[int, str]:
    """Number of members and their network, of the canonical name of an ensemble."""
    _, number, member = net.split(":")
    return int(number), member


def single_nets(nets: Iterable[str]) -> list[str]:
    """The networks that these teachers are made of: of an ensemble that of its members, of a peer none.

    >>> single_nets(["small", "ensemble:3:FCN", "minirocket"])
    ['small', 'FCN']
    """
    names = [ensemble_parts(net)[1] if kind_of_net(net) == "ensemble" else net for net in nets]
    return [net for net in names if kind_of_net(net) != "peer"]


def target_folds(text: str) -> int:
    """The number of folds of `--teacher-targets`: 0 of "fitted", else that of "out-of-fold:K", where 5 is the default.

    Raises:
        MmkdError: it is neither.

    >>> target_folds("fitted"), target_folds("out-of-fold"), target_folds("out-of-fold:3")
    (0, 5, 3)
    """
    kind, _, number = text.partition(":")
    if text == "fitted":
        return 0
    if text == "out-of-fold":
        return FOLDS
    if kind != "out-of-fold" or not number.isdecimal() or len(number) > 3 or int(number) < 2:
        raise MmkdError(f"--teacher-targets {shown(text)}: write fitted, out-of-fold or out-of-fold:K, with K folds")
    return int(number)
