"""`python -m backend` is `sketchbridge`."""

from backend.cli import main

if __name__ == "__main__":
    main()
