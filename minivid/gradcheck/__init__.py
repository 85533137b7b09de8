"""Gradient checks: a backward pass is right when it agrees with numerical derivatives of the forward pass."""

from minivid.gradcheck.checker import Block, Report, check_gradients, tolerance

__all__ = ["Block", "Report", "check_gradients", "tolerance"]
