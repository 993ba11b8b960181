"""Plans for the frameworks of others; each export says what its target cannot express. See docs/export.md."""

from opweave.export.layers import layers_by_stage
from opweave.export.megatron import MegatronLayout, layer_kind, megatron_layout
from opweave.export.pytorch import pytorch_csv
from opweave.export.torchtitan import TorchtitanSettings, torchtitan_modules, torchtitan_settings

__all__ = [
    "MegatronLayout",
    "TorchtitanSettings",
    "layer_kind",
    "layers_by_stage",
    "megatron_layout",
    "pytorch_csv",
    "torchtitan_modules",
    "torchtitan_settings",
]
