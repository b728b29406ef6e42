"""The adapters of the four tools; each fulfils ``mlops.workspace.tools.ToolAdapter``."""
