"""The two ways in which a command ends unhappily, and the exit status of each.

Both carry a message for the user that says what was expected, what was found, where, and what to do.
"""


class ObjnerfError(Exception):
    """Base of the errors that are meant for the user: shown without a traceback."""

    exit_code = 1


class InputError(ObjnerfError):
    """The call or its input cannot be used (exit status 2)."""

    exit_code = 2


class WorkError(ObjnerfError):
    """The work was begun and failed, or was done and found something wrong (exit status 1)."""

    exit_code = 1
