"""The one kind of error that the command line turns into a line of text."""


class InputError(ValueError):
    """What the user gave cannot be used; the message names the value and what is allowed."""


class DivergedError(ArithmeticError):
    """Training has run into NaN or infinity; the message says after how many steps."""
