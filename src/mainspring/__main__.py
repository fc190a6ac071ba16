"""Run the command line: ``python -m mainspring``."""

from mainspring.edges.cli import main

if __name__ == "__main__":
    main()
