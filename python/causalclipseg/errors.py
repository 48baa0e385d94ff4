"""What this package raises. Every class is an :class:`Error`, and one of Python's own where callers expect that."""


class Error(Exception):
    """What this package raises; the message says what, why, and what to do."""


class ModelError(Error):
    """A bundle cannot be opened: not one, damaged, from another version, or with weights that were never trained."""


class CpuError(ModelError):
    """This CPU lacks the instruction set that was requested."""


class ClosedError(Error, ValueError):
    """The model was closed."""


class FileError(Error):
    """A file cannot be read as an image, or a result cannot be written."""


class MissingFileError(FileError, FileNotFoundError):
    """There is no such file."""


class PromptError(Error, ValueError):
    """A prompt is empty or too long, or there is none, or too many."""


class ImageError(Error, ValueError):
    """Pixels have a shape or values that are not those of an image."""


class ImageTypeError(Error, TypeError):
    """Pixels have a type of number that is not one of an image."""


class OptionError(Error, ValueError):
    """An argument is out of its range."""
