"""Networks whose score counts distances to good features: memory banks beside what each family learns."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from edgead.models.backbones import Backbone, feature_info
from edgead.models.config import ModelConfig
from edgead.models.features.detail_bank import DetailBank, detail_banks_of, fit_details
from edgead.models.features.memory_bank import memory_bank_of
from edgead.models.features.selection import FeatureSelection
from edgead.models.network import InspectionNetwork


class BankedNetwork(InspectionNetwork):
    """One memory bank of joined deep stages and one for each fine stage, by fields `bank_*`, `detail_*`."""

    kept_in_float = ("/bank/*", "/details.*")  # edgead.compiler.distances rounds them, its own way

    def __init__(self, config: ModelConfig, backbone: Backbone, selection: FeatureSelection) -> None:
        super().__init__(config, backbone, selection)
        infos = feature_info(config.backbone, config.stages)
        self.bank = memory_bank_of(
            infos,
            self.config.bank_stages,
            components=self.config.bank_components,
            size=self.config.bank_size,
            density=self.config.bank_density,
        )
        self.details = detail_banks_of(
            infos,
            self.config.detail_stages,
            self.config.input_size,
            components=self.config.bank_components,
            size=self.config.detail_size,
            stride=self.config.detail_stride,
        )

    @property
    def parts(self) -> dict[str, str]:
        return {"bank": "bank", "details": "bank"}

    def fit_good(self, chunks: Sequence[list[Tensor]], generator: torch.Generator) -> None:
        if self.bank is not None:
            self.bank.fit([self.maps_of(self.config.bank_stages, maps) for maps in chunks], generator)
        detailed = [self.maps_of(self.config.detail_stages, maps) for maps in chunks]
        fit_details(self.details, detailed, generator)

    def distances(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Those to the bank of joined stages, then those of each detail bank; maps: one for each stage."""
        joined = [] if self.bank is None else [self.bank(self.maps_of(self.config.bank_stages, maps))]
        detailed = self.maps_of(self.config.detail_stages, maps)
        return joined + [bank(m) for bank, m in zip(self.details, detailed, strict=True)]

    def fold(self) -> None:
        """Drop the banks' repeated prototypes."""
        if self.bank is not None:
            self.bank = self.bank.without_repeated()
        for bank in self.details:
            if isinstance(bank, DetailBank):
                bank.fold()
