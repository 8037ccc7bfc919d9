"""Numbers and pictures: text, scores and counts in; figures and verdicts out. No models are loaded here."""
