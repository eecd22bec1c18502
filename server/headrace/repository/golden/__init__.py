"""Golden requests: what a version must answer before it may serve, read from its folder."""
