"""Routes and rollout plans as text: read from configurations and requests, checked, and written again."""
