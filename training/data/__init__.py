"""Data access: sources of photographs, crops, the memory-mapped cache, and the hold-out."""
