"""The one exception that says: the data on disk, or what was asked of it, cannot be used."""


class DataError(ValueError):
    """Bad data, told to the user in one line: what is wrong, where, and what to do."""
