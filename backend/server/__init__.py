"""The headless server: jobs from clients over ZeroMQ, each computed by a worker process of its own."""
