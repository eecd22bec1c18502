"""Load tests of a running server: Locust users that send at a given rate and check every answer."""
