"""What things cost: prices as dated data, what an amount of work comes to, and what may be spent."""
