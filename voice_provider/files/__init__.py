"""What is read and kept: locations, media, storage; checked and atomic."""
