"""``python -m tinyatv`` is ``tinyatv``."""

from .cli import console

if __name__ == "__main__":
    console()
