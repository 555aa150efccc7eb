"""Small torch modules, and the architectures made of them."""

from vad.nn.architectures import ARCHITECTURES, Architecture
from vad.nn.network import Network, fold_norms

__all__ = ["ARCHITECTURES", "Architecture", "Network", "fold_norms"]
