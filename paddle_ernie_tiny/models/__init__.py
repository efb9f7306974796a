"""Teachers and students, and reading their inner states."""
