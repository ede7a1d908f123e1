"""The configuration: its schema with defaults and meanings, strict decoding, checks, rendering, migration."""
