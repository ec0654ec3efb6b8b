"""``python -m pmcore``: the command line, where its script is not on the path."""

from pmcore.cli import main

if __name__ == "__main__":
    main()
