"""Where results come from: what belongs together across the tools, and how to bring a result back."""
