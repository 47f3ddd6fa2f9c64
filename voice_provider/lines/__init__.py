"""Scripts of many lines: read, checked and planned before anything is paid; pure, so tested as tables."""
