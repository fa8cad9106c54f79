"""What an error says, for one line."""


def first_line(error: BaseException) -> str:
    """The first line of an error's text; its name where it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
