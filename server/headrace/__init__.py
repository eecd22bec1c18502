"""headrace: a high-throughput gRPC inference server."""
