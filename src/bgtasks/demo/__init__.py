"""The demonstration: the built-in tasks at work, for half a minute, on servers of its own."""

from bgtasks.demo.play import play

__all__ = ["play"]
