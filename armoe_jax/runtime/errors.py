"""How commands tell of errors."""


def one_line(error: BaseException) -> str:
    """Returns an exception's message in one line, or its name if it has none.

    Whatever a terminal would obey is escaped: names come from files of others.
    """
    # KeyError quotes its message.
    message = error.args[0] if isinstance(error, KeyError) and error.args else error
    text = " ".join(str(message).split()) or type(error).__name__
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
