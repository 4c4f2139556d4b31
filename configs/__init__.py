"""YAML presets (data only): one per scenario, tracker and fusion method."""
