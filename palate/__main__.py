"""`python -m palate` is `palate`."""

from palate.cli.main import main

if __name__ == "__main__":
    main()
