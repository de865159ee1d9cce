"""`python -m exporter`, as the command `comfycontrol-exporter`."""

import sys

from exporter.cli import main

if __name__ == "__main__":
    sys.exit(main())
