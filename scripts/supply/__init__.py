"""What is delivered: how the wheel is built, what it stands on, and what is known against that."""
