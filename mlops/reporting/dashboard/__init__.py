"""The live page over all projects of a base: ``mlops dashboard``."""
