"""What the memo promises of all improvements together ("performance expectations")."""

RANK_IC_TARGET, RANK_IC_HOPED = 0.01, 0.02
"""Ends of the promised gain of RankIC@1d."""
DIVERGENCE_TARGET, MEMORY_TARGET, TIME_TARGET = -0.50, -0.15, 0.10
"""Relative changes: no less of the first two, no more of the last."""
