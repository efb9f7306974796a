"""How fast, how small, how exact: any set of models side by side in one run."""
