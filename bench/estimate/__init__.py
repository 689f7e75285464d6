"""What a plan will take: memory and hours, without trained weights."""
