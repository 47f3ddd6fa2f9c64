"""sync. labs, as a customer meets it. Sections in comments are those of its contract."""
