"""Everything that touches the disk: data files, the database of feedback, and run directories."""
