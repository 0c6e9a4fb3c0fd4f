"""What can go wrong for the user of the backend, as one tree.

    SketchbridgeError
      BadInput            a setting, prompt or file that was given is wrong; the message says what would be right
        UnreadableMesh    an initial mesh that cannot be read or used
        BadPicture        a picture that a server was sent and that cannot be decoded or used
      MissingModel        the diffusion model is not there, or is no diffusers pipeline
      EmptySurface        a surface that has vanished, so that there is no mesh to write
      OutputNotWritable   the place for the results cannot be written
      DamagedRun          a run folder that cannot be resumed
      MissingRasteriser   the rasteriser asked for is not installed on this machine
      UnusableState       the folder of a server's jobs is in use, damaged, or of another version

The command line shows the message of these without a traceback. Anything else is a bug of ours and keeps its traceback.
"""

from __future__ import annotations


class SketchbridgeError(Exception):
    """Base of every error whose message is written for the user."""


class BadInput(SketchbridgeError, ValueError):
    """A value or a file that the user gave is wrong. The message names it and says what would be right."""


class UnreadableMesh(BadInput):
    """A mesh file that cannot be read, is empty, or holds numbers that make no surface."""


class BadPicture(BadInput):
    """A picture from a client that cannot be decoded, or in which nothing is drawn."""


class MissingModel(SketchbridgeError):
    """A diffusion model that is not on this machine, or a folder that is no diffusers pipeline."""


class EmptySurface(SketchbridgeError):
    """A surface that has vanished, so that there is no mesh to write."""


class OutputNotWritable(SketchbridgeError):
    """The results cannot be written: no permission, no space, or a suffix that is not known."""


class DamagedRun(SketchbridgeError):
    """A run folder that is foreign, incomplete or damaged, so that it cannot be resumed."""


class MissingRasteriser(SketchbridgeError):
    """The rasteriser that was asked for cannot run on this machine. The message says how to install it."""


class UnusableState(SketchbridgeError):
    """The folder in which a server keeps its jobs cannot be used. The message says why and what to do."""
