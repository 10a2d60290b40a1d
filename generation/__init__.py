"""From an asset manifest, a preset and a seed to a posed multi-view dataset."""
