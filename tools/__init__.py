"""Run by developers, never imported by the backend."""
