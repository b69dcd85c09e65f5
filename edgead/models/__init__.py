"""Networks: backbones, feature selection, reconstruction, residual selection. Needs torch."""
