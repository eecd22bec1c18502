"""The demonstration of rollouts: a server, callers, one good new version, and three that are not."""
