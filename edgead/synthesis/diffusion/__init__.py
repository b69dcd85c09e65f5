"""SDAS (RealNet, arXiv 2403.05897): a diffusion model of good parts, sampled with more noise than it learnt.

process   what noise does to an image, and the distribution of one step back
sampler   the way back in a few steps, with strength
network   the U-Net, in three sizes
fit       learning it from good images
model     the folder that a fit leaves, and images drawn from it
sets      sets of drawn images (SIA) on disk; needs no torch
source    anomalies of a set, blended into good images; needs no torch
sheet     a picture of what strength does
"""
