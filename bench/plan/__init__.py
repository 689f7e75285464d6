"""What is to be measured: cells, their cost, their parts."""
