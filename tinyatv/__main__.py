"""``python -m tinyatv`` is ``tinyatv``."""

import os
import sys


def console() -> None:
    """Run the program and end the process: ``tinyatv serve`` does it if it is running."""
    from .cli.press import press

    try:
        code = press(sys.argv[1:])
    except KeyboardInterrupt:
        from .cli.output import interrupted

        interrupted()
        code = 130
    except BrokenPipeError:
        code = 0  # the reader has what it wanted
    except OSError as exc:
        print(f"tinyatv: {exc.strerror}", file=sys.stderr)
        code = 1
    if code is None:
        from .cli.program import console as run

        run()
    else:
        os._exit(code)  # nothing is left to be written, and cleaning up takes a while


if __name__ == "__main__":
    console()
