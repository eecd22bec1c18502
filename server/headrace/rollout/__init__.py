"""Rollouts: a new version takes more and more of its model's traffic, or none again."""
