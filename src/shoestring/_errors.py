"""Every error that shoestring raises on purpose.

    ShoestringError
    ├── InputError       the caller's data: missing, empty, broken, of the wrong form
    ├── OptionError      the caller's settings: unknown, out of range, contradicting each other
    ├── OutputError      the target cannot be written: exists, no permission, no space
    ├── TrainError       a training run that cannot start, resume or go on
    └── ExtraMissing     a part of shoestring that is not installed

A message is one line: what was wrong, what was given, what is allowed, what to type.
The command line prints it without a traceback and exits with 1.
"""


class ShoestringError(Exception):
    """Base of all errors that a caller may want to catch."""


class InputError(ShoestringError):
    """The caller's data is missing, empty, broken or of the wrong form."""


class OptionError(ShoestringError):
    """A setting is unknown, out of range or contradicts another."""


class OutputError(ShoestringError):
    """The target cannot be written."""


class TrainError(ShoestringError):
    """A training run cannot start, resume or go on."""


class ExtraMissing(ShoestringError):
    """A part of shoestring needs packages that are not installed."""
