"""Networks: their classes, named weights, files made by others, classifiers."""
