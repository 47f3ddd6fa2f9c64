"""The dialect of Fish Audio."""
