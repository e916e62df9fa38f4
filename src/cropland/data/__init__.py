"""From scenes and labels to batches: chips, their split, statistics and augmentation."""
