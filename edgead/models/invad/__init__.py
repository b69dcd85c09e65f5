"""InvAD (Zhang et al., arXiv 2404.10760), from the published sizes down to a compact one."""
