"""Gradient checks: a backward pass is right when it agrees with numerical derivatives of the forward pass."""

from minivid.gradcheck.checker import check_gradients, tolerance
from minivid.gradcheck.report import Block, Report

__all__ = ["Block", "Report", "check_gradients", "tolerance"]
