"""What the requests of two versions say about whether one is worse: statistics, without clocks or I/O."""
