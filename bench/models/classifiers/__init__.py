"""Classifiers, [0,1] images to logits: every module here is imported when plug-ins are."""
