"""Command line, configuration, assembly and life cycle of the process."""
