"""The service that every Bento of a model brings along, as a package of its own.

These files are copied as they are into each Bento, where this library is not installed: they may import only
each other, relatively, and what a Bento brings. Everything that differs between two models comes in through
Bento arguments, everything that differs between two servers through the environment.
"""
