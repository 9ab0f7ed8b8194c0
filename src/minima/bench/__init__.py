"""The step benchmark: who steps, over which parameters, how they take turns; ``minima bench`` runs it."""
