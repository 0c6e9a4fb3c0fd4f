"""What the commands of `sketchbridge` do. Parsing of arguments is in backend.cli, which imports these late."""
