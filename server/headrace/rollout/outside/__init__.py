"""What rollouts ask and tell outside the server: webhooks, Prometheus, functions of one's own."""
