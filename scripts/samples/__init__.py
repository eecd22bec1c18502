"""The sample models: one file a model, and the few things that all three need."""
