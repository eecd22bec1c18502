"""Measurements of headrace; `python -m benchmarks --list` names them, README.md explains them."""
