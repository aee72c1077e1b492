"""Errors in one sentence: what was wrong, where, how to mend it; and the guard that commands run under."""

import errno
import os
import sys

from util.processes import end_with_command

FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}  # Windows knows no disk quota


class UserError(Exception):
    """Bad input, said in one sentence: what was wrong, where, how to fix it.

    Commands print the sentence and exit with status 2 (see `main_guard`).
    """


def main_guard(main):
    """Run a command's `main()`: a `UserError` becomes one line on stderr and exit status 2.

    So does a disk that is full or cannot be written. A reader that has seen enough (`| head`) ends the command
    without a word, with status 1. Where `course.py` or a test started the command, it ends
    with them.
    """
    end_with_command()
    try:
        sys.exit(main() or 0)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:
        if _is_read(sys.stdout):
            raise  # some other pipe: a worker's, say
        # What is still buffered has nowhere to go; Python would complain about it on leaving.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        if error.errno not in FULL | {errno.EROFS, errno.EACCES}:
            raise
        where = f" '{error.filename}'" if error.filename else " a file"
        print(
            f"error: cannot write{where} ({error.strerror}); make room or choose another folder "
            "(COURSE_OUTPUT, COURSE_GENERATED and COURSE_CACHE move the course's own)",
            file=sys.stderr,
        )
        sys.exit(2)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        sys.exit(130)


def _is_read(stream) -> bool:
    """Whether a line more finds a reader; a flush alone would have nothing to send."""
    try:
        print(file=stream, flush=True)
    except BrokenPipeError:
        return False
    return True
