"""The folders and files of all records: one root, one folder a run."""
