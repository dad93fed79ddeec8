"""The weights of BT.601 luma, from which every module that needs them takes or derives them."""

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in the luma. Source: ITU-R BT.601."""
