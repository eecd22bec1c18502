"""From a configuration as written and a graph to a configuration that is whole and agrees with it."""
