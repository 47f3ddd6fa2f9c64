"""The dialect of sync. labs."""
