"""What a file or folder of this machine is given as."""

from os import PathLike

PathText = str | PathLike[str]
