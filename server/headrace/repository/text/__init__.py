"""Configuration files as text: YAML, JSON and Triton's pbtxt, into one message."""
