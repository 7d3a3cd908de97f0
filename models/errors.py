"""The one exception that says: this model or its weights cannot be used."""


class ModelError(ValueError):
    """A bad architecture name or weight file, told in one line: what, where, what to do."""
