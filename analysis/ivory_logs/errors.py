"""The error of this package."""


class LogError(ValueError):
    """A log that cannot be read or lacks what was asked for: the rule, the value found, the place and what to do."""

    def __init__(self, rule, got, place, todo):
        super().__init__(f'[log] {rule}, got {got}, in {place}; {todo}')
