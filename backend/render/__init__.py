"""Differentiable rendering behind four operations."""
