"""The run: its steps in their order, what each records, and the report."""
