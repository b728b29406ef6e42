"""Reading what one project holds, tool by tool, without importing a tool or creating anything."""
