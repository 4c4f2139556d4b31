"""Tables, plots and the self-contained HTML page of an evaluation."""
