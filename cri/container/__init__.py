"""Containers: create, start, stop, remove, update, exec. One operation a module; `Engine` is what they all need."""
