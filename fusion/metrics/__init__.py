"""How good is a fused picture: the seven metrics of the NestFuse paper, in its conventions and by the textbook."""

from fusion.metrics.scores import METRIC_NAMES, ConventionName, score_conventions, score_picture

__all__ = ["METRIC_NAMES", "ConventionName", "score_conventions", "score_picture"]
