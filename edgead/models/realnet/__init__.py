"""RealNet (Zhang et al., CVPR 2024), from the paper's parts down to compact ones."""
