"""Peers: usual classifiers of windows that are no network of ours. They stand beside the networks, or teach them.

A peer is fitted on arrays of signals and labels; it knows nothing of units or records. Here belongs what computes
features and fits classifiers; `evaluation.references` makes the rows of tables.
"""

from collections.abc import Mapping

from mmkd.peers.base import Peer, best_temperature
from mmkd.peers.forest import RandomForest
from mmkd.peers.minirocket import MiniRocket

__all__ = ["PEERS", "MiniRocket", "Peer", "RandomForest", "best_temperature"]

PEERS: Mapping[str, type[Peer]] = {"random-forest": RandomForest, "minirocket": MiniRocket}
"""Every peer by name; `Task.reference_names` of classification has the same names."""
