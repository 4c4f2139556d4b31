"""The two kinds of error that a person is told about, and the exit code of each.

Every other exception is a defect of the program and keeps its traceback.
"""


class InputError(ValueError):
    """What the user gave cannot be used (exit code 2).

    The message is one or two lines: what was wrong, where (option, file, line), and what to do.
    """

    exit_code = 2


class RunError(RuntimeError):
    """The run failed or did less than asked, through no fault of the input (exit code 1)."""

    exit_code = 1
